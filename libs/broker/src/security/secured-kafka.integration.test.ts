import { createServer, type Server } from 'node:http'
import { readFile, rename, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import {
  createAuthority,
  eventually,
  type SecuredKafka,
  startSecuredKafka,
  testFolder,
  unsecuredToken,
} from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Broker, createBroker } from '../broker.ts'
import { securitySettings } from './security-settings.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
/** Kafka ends what is not authenticated again within this: several sessions pass while a test runs. */
const SESSION_MS = 4_000

let kafka: SecuredKafka
let endpoint: Server
let tokensGiven = 0
let tokenUrl: string
const brokers: Broker[] = []

beforeAll(async () => {
  kafka = await startSecuredKafka({ users: { ann: 'ann-secret' }, sessionMs: SESSION_MS })
  endpoint = createServer((request, response) => {
    const known = request.headers.authorization === `Basic ${btoa('headrace:client-secret')}`
    if (known) tokensGiven += 1
    response.statusCode = known ? 200 : 401
    response.end(
      JSON.stringify(known ? { access_token: unsecuredToken('ann', 3_600), expires_in: 3_600 } : {}),
    )
  })
  await new Promise<void>((resolve) => {
    endpoint.listen(0, '127.0.0.1', resolve)
  })
  tokenUrl = `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}/token`
})
afterAll(async () => {
  await Promise.all(brokers.map(async (broker) => await broker.close()))
  endpoint.close()
})

/** A client as the settings make it, on the SASL listener unless said. */
function client(env: Record<string, string>, addresses = kafka.sasl): Broker {
  const { security, problems } = securitySettings(env)
  expect(problems).toEqual([])
  const broker = createBroker({ brokers: addresses, clientId: 'test', logger, security })
  brokers.push(broker)
  return broker
}
const tls = () => ({ HEADRACE_KAFKA_TLS_CA_FILE: kafka.authority.ca })
const ann = (mechanism: string) => ({
  ...tls(),
  HEADRACE_KAFKA_SASL_MECHANISM: mechanism,
  HEADRACE_KAFKA_SASL_USERNAME: 'ann',
  HEADRACE_KAFKA_SASL_PASSWORD: 'ann-secret',
})
const oauth = (secret: string) => ({
  ...tls(),
  HEADRACE_KAFKA_SASL_MECHANISM: 'oauthbearer',
  HEADRACE_KAFKA_OAUTH_TOKEN_URL: tokenUrl,
  HEADRACE_KAFKA_OAUTH_CLIENT_ID: 'headrace',
  HEADRACE_KAFKA_OAUTH_CLIENT_SECRET: secret,
})

describe('a Kafka with TLS and SASL', () => {
  it.each(['plain', 'scram-sha-256', 'scram-sha-512'])(
    'lets in whoever knows the password by %s',
    async (mechanism) => {
      await expect(client(ann(mechanism)).ping()).resolves.toEqual({ brokers: kafka.sasl })
    },
  )

  it('lets in whoever has a token, and one token serves all connections', async () => {
    const broker = client(oauth('client-secret'))
    await Promise.all([broker.ping(), broker.topics.list('nothing')])
    await broker.offsets('nothing').catch(() => undefined)
    expect(tokensGiven).toBe(1)
  })

  it('lets in whoever has a certificate', async () => {
    const certificate = {
      HEADRACE_KAFKA_TLS_CERT_FILE: kafka.client.cert,
      HEADRACE_KAFKA_TLS_KEY_FILE: kafka.client.key,
    }
    await expect(client({ ...tls(), ...certificate }, kafka.mutual).ping()).resolves.toEqual({
      brokers: kafka.mutual,
    })
  })

  it('is told apart by what is wrong, with the setting to look at', async () => {
    const other = await createAuthority(await testFolder('other'), 'other')
    const failures: [Record<string, string>, string[], string][] = [
      [
        { ...ann('scram-sha-512'), HEADRACE_KAFKA_SASL_PASSWORD: 'wrong' },
        kafka.sasl,
        'HEADRACE_KAFKA_SASL_PASSWORD',
      ],
      [{ ...ann('plain'), HEADRACE_KAFKA_SASL_USERNAME: 'bob' }, kafka.sasl, 'HEADRACE_KAFKA_SASL_USERNAME'],
      [{ ...ann('plain'), HEADRACE_KAFKA_TLS_CA_FILE: other.ca }, kafka.sasl, 'HEADRACE_KAFKA_TLS_CA_FILE'],
      [
        { ...ann('plain'), HEADRACE_KAFKA_TLS_CA_FILE: '/nowhere/ca' },
        kafka.sasl,
        'HEADRACE_KAFKA_TLS_CA_FILE',
      ],
      [ann('plain'), kafka.plain, 'HEADRACE_KAFKA_TLS'],
      [ann('plain'), kafka.mutual, 'HEADRACE_KAFKA_TLS_CERT_FILE'],
      [tls(), kafka.mutual, 'HEADRACE_KAFKA_TLS_CERT_FILE'],
      [tls(), kafka.sasl, 'HEADRACE_KAFKA_SASL_MECHANISM'],
      [{}, kafka.sasl, 'HEADRACE_KAFKA_TLS'],
      [oauth('wrong'), kafka.sasl, 'HEADRACE_KAFKA_OAUTH_CLIENT_ID'],
    ]
    for (const [env, addresses, setting] of failures) {
      const error: unknown = await client(env, addresses)
        .ping()
        .catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ name: 'BrokerError', retryable: true })
      expect(String(error)).toContain(setting)
      expect(String(error)).not.toContain('ann-secret')
    }
  })

  it('goes on past the end of its sessions', async () => {
    const broker = client(ann('scram-sha-512'))
    const until = performance.now() + SESSION_MS * 1.5
    await eventually('a session and a half', async () => {
      await broker.ping()
      return performance.now() > until
    })
  })

  it('lets in again with the secret that its file has by then', async () => {
    const file = join(await testFolder('secret'), 'password')
    await writeFile(file, 'old\n')
    const { HEADRACE_KAFKA_SASL_PASSWORD: password, ...rest } = ann('scram-sha-512')
    const broker = client({ ...rest, HEADRACE_KAFKA_SASL_PASSWORD_FILE: file })
    await expect(broker.ping()).rejects.toMatchObject({ code: 'kafka_authentication_failed' })
    await writeFile(`${file}.new`, `${password}\n`)
    await rename(`${file}.new`, file)
    await expect(broker.ping()).resolves.toEqual({ brokers: kafka.sasl })
    expect(await readFile(file, 'utf8')).toContain(password)
  })
})
