/**
 * `npm run test:api`: schemathesis asks every operation of `/openapi.json` with data that it makes up, against a Headrace of
 * its own (`headrace dev`): no answer may be a 5xx, or one that the document does not know. Arguments go to schemathesis:
 *
 *     npm run test:api -- --max-examples 30
 *
 * Not part of `npm test`. Needs Python 3 with `venv`; schemathesis is installed once, into the user's cache folder.
 */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { cacheFolder, freePort } from '@headrace/local'

const repository = fileURLToPath(new URL('../', import.meta.url))
const VERSIONS = ['schemathesis==4.4.4', 'hypothesis==6.130.0']
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_schema_conformance',
]
/** A list that has looked for its 2 s, and its answer's way. */
const ANSWER_SECONDS_MAX = 20

function schemathesis(): string {
  const folder = cacheFolder(process.env, VERSIONS.join('-'))
  const program = join(folder, 'bin', 'schemathesis')
  // Its own mark: an installation that was cut short is made again.
  if (!existsSync(program)) {
    execFileSync('python3', ['-m', 'venv', '--clear', folder], { stdio: 'inherit' })
    execFileSync(join(folder, 'bin', 'pip'), ['install', '--quiet', ...VERSIONS], { stdio: 'inherit' })
  }
  return program
}

async function ended(child: ReturnType<typeof spawn>): Promise<number> {
  return await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  })
}

const program = schemathesis()
const folder = await mkdtemp(join(tmpdir(), 'headrace-api-'))
const port = await freePort()
const cli = join(repository, 'apps/cli/src/main.ts')
const dev = spawn(
  process.execPath,
  ['--conditions=@headrace/source', cli, 'dev', '--port', String(port), '--data-dir', folder],
  { stdio: ['ignore', 'pipe', 'inherit'] },
)
const stopped = ended(dev)
const lines = createInterface({ input: dev.stdout })
const ready = new Promise<'ready'>((resolve) => {
  lines.on('line', (line) => {
    if (/^Headrace .* is ready$/.test(line)) resolve('ready')
  })
})
let code = 1
try {
  if ((await Promise.race([ready, stopped])) !== 'ready') throw new Error('headrace dev did not start')
  const options = ['--checks', CHECKS.join(','), '--phases', 'fuzzing', '--max-examples', '8', '--seed', '1']
  // They go on for as long as their caller does, and would be asked until the end of time.
  const endless = ['--exclude-path', '/v1/events/stream']
  const asking = ['--request-timeout', String(ANSWER_SECONDS_MAX), '-w', '2', '--continue-on-failure']
  // Ids of a fixed form are hard to make up.
  const quick = ['--no-shrink', '--generation-database', 'none', '--suppress-health-check=filter_too_much']
  const url = `http://127.0.0.1:${port}/openapi.json`
  const given = process.argv.slice(2)
  const args = ['run', ...options, ...endless, ...asking, ...quick, ...given, url]
  // It leaves a folder of its own where it runs.
  code = await ended(spawn(program, args, { stdio: 'inherit', cwd: folder }))
} finally {
  dev.kill('SIGTERM')
  await stopped
  await rm(folder, { recursive: true, force: true })
}
process.exit(code)
