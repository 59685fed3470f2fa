import { access, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isRefused, REPOSITORY, startProcess, testFolder, type TestProcess } from '@headrace/testing'
import { expect, test } from 'vitest'
import { DataFolderInUseError, lockFolder, resetDataFolder, startKafka, startPostgres } from './index.ts'
import { KAFKA_POM, KAFKA_VERSION } from './kafka-jars.ts'
import { isAlive } from './process-table.ts'

const LOCAL = new URL('./index.ts', import.meta.url).href

interface Started {
  brokers: string[]
  url: string
  pids: number[]
}

/** A process that starts both on this folder and says what it started. */
async function startOwner(dataDir: string): Promise<{ owner: TestProcess; started: Started }> {
  const program = `
    import { lockFolder, startKafka, startPostgres } from '${LOCAL}'
    const options = { dataDir: '${dataDir}', env: process.env, onProgress: () => undefined }
    await lockFolder('${dataDir}')
    const [kafka, postgres] = await Promise.all([startKafka(options), startPostgres(options)])
    console.log(JSON.stringify({ brokers: kafka.brokers, url: postgres.url, pids: [kafka.pid, postgres.pid] }))
  `
  const args = ['--conditions=@headrace/source', '--input-type=module-typescript', '-e', program]
  const owner = await startProcess({ name: 'owner', args, cwd: `${REPOSITORY}libs/local` })
  return { owner, started: JSON.parse(await owner.waitForLine('brokers')) as Started }
}

test('what a killed owner left behind is ended by the next start, which goes on with the same data and addresses', async () => {
  const dataDir = await testFolder('orphans')
  const { owner, started } = await startOwner(dataDir)
  await owner.kill('SIGKILL')
  expect(await Promise.all(started.pids.map(isAlive))).toEqual([true, true])

  const progress: string[] = []
  const options = { dataDir, env: {}, onProgress: (line: string) => progress.push(line) }
  const env = { PATH: process.env['PATH'], HOME: process.env['HOME'] }
  const [kafka, postgres] = await Promise.all([startKafka({ ...options, env }), startPostgres(options)])
  try {
    expect(await Promise.all(started.pids.map(isAlive))).toEqual([false, false])
    expect(progress.filter((line) => line.includes('left behind'))).toHaveLength(2)
    expect({ brokers: kafka.brokers, url: postgres.url }).toEqual({
      brokers: started.brokers,
      url: started.url,
    })
  } finally {
    await Promise.all([kafka.stop(), postgres.stop()])
  }
})

test('a second start on a folder whose owner lives is refused, and leaves the owner’s servers alone', async () => {
  const dataDir = await testFolder('in-use')
  const { owner, started } = await startOwner(dataDir)
  await expect(lockFolder(dataDir)).rejects.toThrow(`is in use by process ${owner.pid}`)
  await expect(startPostgres({ dataDir, env: {}, onProgress: () => undefined })).rejects.toThrow(
    DataFolderInUseError,
  )
  await expect(resetDataFolder(dataDir)).rejects.toThrow(DataFolderInUseError)
  expect(await Promise.all(started.pids.map(isAlive))).toEqual([true, true])
})

test('of many starts at once on a folder with a dead owner’s lock exactly one gets it', async () => {
  const folder = await testFolder('contended')
  await writeFile(join(folder, 'lock.json'), JSON.stringify({ pid: 1, identity: 'of an earlier boot' }))
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, async () => await lockFolder(folder)))
  const winners = outcomes.filter((outcome) => outcome.status === 'fulfilled')
  expect(winners).toHaveLength(1)
  await winners[0]!.value.release()
  await (await lockFolder(folder)).release()
})

test('a reset deletes what we made and nothing else', async () => {
  const folder = await testFolder('reset')
  const lock = await lockFolder(folder)
  await mkdir(join(folder, 'kafka'))
  await writeFile(join(folder, 'notes.txt'), 'mine')
  await lock.release()
  await resetDataFolder(folder)
  await expect(access(join(folder, 'kafka'))).rejects.toThrow('ENOENT')
  expect(await readFile(join(folder, 'notes.txt'), 'utf8')).toBe('mine')
})

test('a folder that we did not make is not reset', async () => {
  const folder = await testFolder('foreign')
  await mkdir(join(folder, 'kafka'))
  await resetDataFolder(folder)
  await expect(access(join(folder, 'kafka'))).resolves.toBeUndefined()
})

test('after a stop the ports refuse connections', async () => {
  const dataDir = await testFolder('stopped')
  const postgres = await startPostgres({ dataDir, env: {}, onProgress: () => undefined })
  await postgres.stop()
  expect(await isRefused(Number(new URL(postgres.url).port))).toBe(true)
})

test('a Kafka or Postgres that is given by its setting is used, and never stopped', async () => {
  const env = { HEADRACE_KAFKA_BROKERS: 'a:1, b:2', HEADRACE_DATABASE_URL: 'postgres://db/x' }
  const options = { dataDir: await testFolder('given'), env, onProgress: () => undefined }
  const kafka = await startKafka(options)
  expect(kafka).toMatchObject({ brokers: ['a:1', 'b:2'], reason: 'HEADRACE_KAFKA_BROKERS is set', pid: null })
  await kafka.stop()
  expect(await startPostgres(options)).toMatchObject({
    url: 'postgres://db/x',
    reason: 'HEADRACE_DATABASE_URL is set',
  })
})

test('without a Kafka, a JVM and Docker the error names the three ways out', async () => {
  const options = {
    dataDir: await testFolder('nothing'),
    env: { PATH: '/nowhere' },
    onProgress: () => undefined,
  }
  await expect(startKafka(options)).rejects.toThrow(/HEADRACE_KAFKA_BROKERS[^]*JVM \(17[^]*Docker/)
})

test('the version of the jars is the one that is named to users', async () => {
  expect(await readFile(KAFKA_POM, 'utf8')).toContain(`<kafka.version>${KAFKA_VERSION}</kafka.version>`)
})
