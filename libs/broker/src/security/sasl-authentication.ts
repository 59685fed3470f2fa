import {
  plainProvider,
  oauthBearerProvider,
  scram256Provider,
  scram512Provider,
} from '../wire/kafkajs-internals.ts'
import type { OAuthSasl, PasswordSasl, SaslOptions } from './kafka-security.ts'
import { OAuthTokens } from './oauth-tokens.ts'
import { SecretError } from './secret-error.ts'

/** What kafkajs's connection takes for its `sasl`: it calls the provider whenever it authenticates. */
export interface ConnectionSasl {
  readonly mechanism: string
  readonly authenticationProvider: (context: object) => { authenticate(): Promise<void> }
}

/**
 * kafkajs holds one name and password for the life of a client. Here `read` is asked at each authentication: at a
 * connection's first, and whenever Kafka's session on it runs out (KIP-368), which kafkajs renews on the open connection.
 */
export class SaslAuthentication {
  readonly #tokens = new OAuthTokens()

  of(mechanism: string, read: () => Promise<SaslOptions | null>): ConnectionSasl {
    return {
      mechanism,
      authenticationProvider: (context) => ({
        authenticate: async () => {
          const sasl = await read()
          if (sasl?.mechanism !== mechanism)
            throw new SecretError(`SASL ${mechanism} is not configured any more`)
          await this.#providerOf(sasl)(context).authenticate()
        },
      }),
    }
  }

  #providerOf(sasl: SaslOptions): ConnectionSasl['authenticationProvider'] {
    if (!isPassword(sasl))
      return oauthBearerProvider({ oauthBearerProvider: async () => ({ value: await this.#tokenOf(sasl) }) })
    if (sasl.mechanism === 'plain') return plainProvider(sasl)
    if (sasl.mechanism === 'scram-sha-256') return scram256Provider(sasl)
    return scram512Provider(sasl)
  }

  async #tokenOf(sasl: OAuthSasl): Promise<string> {
    return 'token' in sasl ? await sasl.token() : await this.#tokens.tokenFor(sasl)
  }
}

const isPassword = (sasl: SaslOptions): sasl is PasswordSasl => sasl.mechanism !== 'oauthbearer'
