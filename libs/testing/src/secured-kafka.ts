import { join } from 'node:path'
import { freePort } from '@headrace/local'
import { type Authority, type Certificate, createAuthority, joinPem } from './certificates.ts'
import { testFolder } from './infra.ts'
import { type OwnKafka, startOwnKafka } from './own-server.ts'

export interface SecuredKafkaOptions {
  /** Name → password, for SCRAM and for PLAIN. */
  users: Readonly<Record<string, string>>
  /** Kafka's session on a connection of the SASL listener (ms); 0, the default: without end. */
  sessionMs?: number
}

/**
 * A Kafka that allows nothing but what an ACL says, with TLS. `plain` is for setting up: whoever comes in there is a
 * super user.
 */
export interface SecuredKafka extends Omit<OwnKafka, 'brokers'> {
  /** Of the super user. */
  readonly plain: string[]
  /** SASL_SSL: SCRAM-SHA-256, SCRAM-SHA-512, PLAIN, and OAUTHBEARER with unsecured tokens. */
  readonly sasl: string[]
  /** SSL, for whoever has a certificate of the authority's: the principal is its subject. */
  readonly mutual: string[]
  readonly authority: Authority
  /** One of the authority's, for a client. */
  readonly client: Certificate
}

const AUTHORIZER = 'org.apache.kafka.metadata.authorizer.StandardAuthorizer'
const LOGIN = 'org.apache.kafka.common.security'

/** Needs a JVM on this machine, and openssl. Ended with the file. */
export async function startSecuredKafka({
  users,
  sessionMs = 0,
}: SecuredKafkaOptions): Promise<SecuredKafka> {
  const folder = await testFolder('certificates')
  const authority = await createAuthority(folder)
  const server = await authority.sign('broker', 'IP:127.0.0.1,DNS:localhost')
  const client = await authority.sign('client', 'DNS:client')
  const [saslPort, mutualPort] = [await freePort(), await freePort()]
  const passwords = Object.entries(users)
  const plain = passwords.map(([name, password]) => `user_${name}="${password}"`).join(' ')
  const kafka = await startOwnKafka({
    listeners: [
      { name: 'SECURE', port: saslPort, protocol: 'SASL_SSL' },
      { name: 'MUTUAL', port: mutualPort, protocol: 'SSL' },
    ],
    scramUsers: passwords.map(([name, password]) => ({ name, password })),
    properties: {
      'authorizer.class.name': AUTHORIZER,
      'super.users': 'User:ANONYMOUS',
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.location': await joinPem(server, join(folder, 'broker.pem')),
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.location': authority.ca,
      'listener.name.mutual.ssl.client.auth': 'required',
      'listener.name.secure.connections.max.reauth.ms': sessionMs,
      'listener.name.secure.sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER',
      'listener.name.secure.plain.sasl.jaas.config': `${LOGIN}.plain.PlainLoginModule required ${plain};`,
      'listener.name.secure.scram-sha-256.sasl.jaas.config': `${LOGIN}.scram.ScramLoginModule required;`,
      'listener.name.secure.scram-sha-512.sasl.jaas.config': `${LOGIN}.scram.ScramLoginModule required;`,
      'listener.name.secure.oauthbearer.sasl.jaas.config': `${LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
    },
  })
  const { brokers, ...rest } = kafka
  return {
    ...rest,
    plain: brokers,
    sasl: [`127.0.0.1:${saslPort}`],
    mutual: [`127.0.0.1:${mutualPort}`],
    authority,
    client,
  }
}

/** A token that Kafka's unsecured validator takes (RFC 7515, appendix A.5): no more than a claim of who one is. */
export function unsecuredToken(subject: string, lifeSeconds: number): string {
  const now = Math.floor(Date.now() / 1_000)
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none' })}.${part({ sub: subject, iat: now - 60, exp: now + lifeSeconds })}.`
}
