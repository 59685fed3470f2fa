import type { ConnectionOptions } from 'node:tls'
import type { KafkaSecuritySource, SaslOptions } from './kafka-security.ts'
import { type ConnectionSasl, SaslAuthentication } from './sasl-authentication.ts'

/** What one connection is opened with. */
export interface OpeningSecurity {
  readonly ssl: ConnectionOptions | null
  readonly sasl: ConnectionSasl | null
}

/** The security of one client, asked for each connection. Tokens are shared by all of them. */
export class ConnectionSecurity {
  readonly #source: KafkaSecuritySource
  readonly #authentication = new SaslAuthentication()

  constructor(source: KafkaSecuritySource = {}) {
    this.#source = source
  }

  async read(): Promise<OpeningSecurity> {
    const { ssl, sasl } = await this.#ask()
    return {
      ssl: ssl === true ? {} : ssl === false || ssl === undefined ? null : ssl,
      sasl:
        sasl === undefined
          ? null
          : this.#authentication.of(sasl.mechanism, async () => await this.#saslNow()),
    }
  }

  async #saslNow(): Promise<SaslOptions | null> {
    return (await this.#ask()).sasl ?? null
  }

  async #ask() {
    return typeof this.#source === 'function' ? await this.#source() : this.#source
  }
}
