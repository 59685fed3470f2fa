import { execFile, spawn } from 'node:child_process'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { hasDocker, hasImage, KAFKA_IMAGE, POSTGRES_IMAGE } from '@headrace/local'
import { PAUSE_IMAGE } from './node-settings.ts'
import { REPOSITORY } from './repository.ts'

const run = promisify(execFile)

/** Of the version that the charts are of, so that no chart has to be told. */
export const HEADRACE_VERSION = '0.1.0'
const HEADRACE_IMAGE = `headrace:${HEADRACE_VERSION}`
const BASE_IMAGES = ['node:24-bookworm-slim', KAFKA_IMAGE, POSTGRES_IMAGE]

/** Builds our image from the Dockerfile of this tree, and writes it with Kafka's and Postgres's to one archive. */
export async function saveImages(archive: string, programs: string): Promise<void> {
  if (!(await hasDocker(process.env)))
    throw new Error('The image is built by Docker, and no daemon answers: start one (`dockerd`)')
  for (const image of BASE_IMAGES) {
    if (await hasImage(image, process.env)) continue
    throw new Error(`Docker has no ${image}: pull it, or make a stand-in (\`npm run images:offline\`)`)
  }
  await show('docker', 'build', '--quiet', '--tag', HEADRACE_IMAGE, REPOSITORY)
  await buildPause(programs)
  const images = [HEADRACE_IMAGE, KAFKA_IMAGE, POSTGRES_IMAGE, PAUSE_IMAGE]
  await run('docker', ['save', '--output', archive, ...images])
}

async function buildPause(programs: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'headrace-pause-'))
  try {
    await copyFile(join(programs, 'pause'), join(folder, 'pause'))
    await writeFile(
      join(folder, 'Dockerfile'),
      'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n',
    )
    await show('docker', 'build', '--quiet', '--tag', PAUSE_IMAGE, folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
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
