import type { ConnectionOptions } from 'node:tls'

/** What a registry lets us in with. */
export interface RegistryCredentials {
  /** The value of `Authorization`; null: nothing is sent. */
  readonly authorization: string | null
  readonly tls: Pick<ConnectionOptions, 'ca' | 'cert' | 'key'>
}

/** A schema registry with Confluent's API, and how to be let in. */
export interface RegistryAccess {
  /** A user and password in it are sent as basic authentication, where `credentials` says nothing else. */
  readonly url: string
  /** Asked for each request: files may have changed meanwhile. Throws where one cannot be read. */
  readonly credentials: () => Promise<RegistryCredentials>
}

/** A registry that wants no more than its URL says. */
export const openRegistry = (url: string): RegistryAccess => ({
  url,
  credentials: async () => await Promise.resolve({ authorization: null, tls: {} }),
})
