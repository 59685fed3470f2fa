import type { ConnectionOptions } from 'node:tls'

/** Name and secret for SASL, as Kafka's own clients name the mechanisms. */
export interface PasswordSasl {
  mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
  username: string
  password: string
}

/** A client of an OAuth 2 token endpoint: the client credentials grant. */
export interface OAuthClient {
  tokenUrl: string
  clientId: string
  clientSecret: string
  scope?: string
}

/** Tokens of an endpoint, kept until shortly before they expire; or of a function that does the keeping itself. */
export type OAuthSasl = { mechanism: 'oauthbearer' } & (OAuthClient | { token: () => Promise<string> })

export type SaslOptions = PasswordSasl | OAuthSasl

/** How to speak to Kafka: TLS (`ssl: true`, or Node's own options: `ca`, `cert`, `key`, …) and SASL. Neither by default. */
export interface KafkaSecurity {
  ssl?: ConnectionOptions | boolean
  sasl?: SaslOptions
}

/**
 * A function is asked again for each connection and each authentication: what it returns may have changed meanwhile, so
 * that secrets and certificates rotate without a restart. What it throws counts as Kafka out of reach.
 */
export type KafkaSecuritySource = KafkaSecurity | (() => KafkaSecurity | Promise<KafkaSecurity>)
