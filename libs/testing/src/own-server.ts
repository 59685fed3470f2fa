import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type KafkaExtras, startKafka, startPostgres, startSchemaRegistry } from '@headrace/local'
import type { Certificate } from './certificates.ts'
import { eventually } from './eventually.ts'
import { atFileEnd } from './file-end.ts'
import { testFolder } from './infra.ts'
import { offerTls } from './offer-tls.ts'
import { neutralEnvironment } from './shared-infra.ts'

const execute = promisify(execFile)

/** A server of one test, to be stopped, killed and started again, on one port and one set of data. */
export interface OwnServer {
  readonly port: number
  /** Of the process that runs now; null when none does, or when it is in a container. */
  pid(): number | null
  /** In order. */
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** Again, on the same port and data. */
  start(): Promise<void>
  /** Resolves once a connection to the port is refused: the proof that it is away. */
  refused(): Promise<void>
}

export interface OwnKafka extends OwnServer {
  readonly brokers: string[]
}

export interface OwnPostgres extends OwnServer {
  /** Of its database `headrace`, which is empty. */
  readonly url: string
  /** Copies its data, which needs it stopped; what this resolves with puts the copy in its place, and needs so too. */
  backup(): Promise<() => Promise<void>>
  /** Has it offer TLS with this certificate from now on. */
  secure(certificate: Certificate): Promise<void>
}

/** A Kafka of the test's own; with `extras`, on this machine's JVM. Ended with the file. */
export async function startOwnKafka(extras?: KafkaExtras): Promise<OwnKafka> {
  const dataDir = await testFolder('kafka')
  const env = neutralEnvironment()
  const more = extras === undefined ? {} : { extras }
  const begin = async () => await startKafka({ dataDir, env, onProgress: () => undefined, ...more })
  const first = await begin()
  const [address = ''] = first.brokers
  const server = ownServer('own Kafka', Number(address.split(':')[1]), first, begin)
  return { ...server, brokers: first.brokers }
}

/** A Postgres of the test's own. Ended with the file. */
export async function startOwnPostgres(): Promise<OwnPostgres> {
  const dataDir = await testFolder('postgres')
  const env = neutralEnvironment()
  const begin = async () => await startPostgres({ dataDir, env, onProgress: () => undefined })
  const first = await begin()
  const server = ownServer('own Postgres', Number(new URL(first.url).port), first, begin)
  const [data, copy] = [join(dataDir, 'postgres', 'data'), join(dataDir, 'backup')]
  return {
    ...server,
    url: first.url,
    backup: async () => {
      await replace(copy, data)
      return async () => await replace(data, copy)
    },
    secure: async (certificate) => await offerTls(first.url, data, certificate),
  }
}

/** With owners and modes, which Postgres insists on. */
async function replace(folder: string, by: string): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  await execute('cp', ['-a', by, folder])
}

export interface OwnSchemaRegistry extends OwnServer {
  /** Base of its Confluent API. */
  readonly url: string
}

/** A schema registry of the test's own. Ended with the file. */
export async function startOwnSchemaRegistry(): Promise<OwnSchemaRegistry> {
  const dataDir = await testFolder('registry')
  const env = neutralEnvironment()
  const begin = async () => await startSchemaRegistry({ dataDir, env, onProgress: () => undefined })
  const first = await begin()
  return { ...ownServer('own schema registry', first.port, first, begin), url: first.url }
}

interface Running {
  readonly pid: number | null
  stop(): Promise<void>
  kill(): Promise<void>
}

function ownServer(name: string, port: number, first: Running, begin: () => Promise<Running>): OwnServer {
  let running: Running | null = first
  const end = async (how: 'stop' | 'kill'): Promise<void> => {
    const ending = running
    running = null
    await ending?.[how]()
  }
  atFileEnd(name, async () => {
    await end('kill')
  })
  return {
    port,
    pid: () => running?.pid ?? null,
    stop: async () => {
      await end('stop')
    },
    kill: async () => {
      await end('kill')
    },
    start: async () => {
      running ??= await begin()
    },
    refused: async () => {
      await eventually(`port ${port} refuses connections`, async () => await isRefused(port))
    },
  }
}

/** Whether a connection to this port of 127.0.0.1 is refused. */
export async function isRefused(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    const end = (refused: boolean): void => {
      socket.destroy()
      resolve(refused)
    }
    socket.once('connect', () => end(false))
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED'))
  })
}
