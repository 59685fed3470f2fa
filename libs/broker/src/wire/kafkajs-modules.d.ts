/// <reference types="node" />
// The inner parts of kafkajs 2.2.4 that this library stands on. kafkajs has no `exports` map and no types for them;
// the version is pinned exactly, so these declarations describe one known source.

declare module 'kafkajs/src/network/connectionPool.js' {
  interface Socket {
    destroy(): void
  }
  interface RequestProtocol {
    readonly request: unknown
    readonly response: {
      decode(payload: Buffer): Promise<unknown>
      parse(decoded: unknown): Promise<unknown>
    }
    readonly requestTimeout?: number | undefined
    readonly logResponseError?: boolean
  }
  class Connection {
    socket?: Socket
    ssl: object | null
    sasl: object | null
    /** How long before a session's end it is renewed (ms). */
    reauthenticationThreshold: number
    /** Of the last authentication (ms); 0: without end. */
    readonly sessionLifetime: { toNumber(): number }
    isConnected(): boolean
    send(protocol: RequestProtocol): Promise<unknown>
    disconnect(): Promise<boolean>
    rejectRequests(error: Error): void
  }
  class ConnectionPool {
    constructor(options: object)
    readonly pool: Connection[]
  }
  namespace ConnectionPool {
    export { Connection, RequestProtocol }
  }
  export = ConnectionPool
}

declare module 'kafkajs/src/broker/index.js' {
  class Broker {
    constructor(options: object)
    versions: Record<string, { minVersion: number; maxVersion: number }> | null
    connect(): Promise<void>
  }
  export = Broker
}

declare module 'kafkajs/src/broker/saslAuthenticator/oauthBearer.js' {
  const provider: (options: object) => (context: object) => { authenticate(): Promise<void> }
  export = provider
}

declare module 'kafkajs/src/broker/saslAuthenticator/plain.js' {
  const provider: (options: object) => (context: object) => { authenticate(): Promise<void> }
  export = provider
}

declare module 'kafkajs/src/broker/saslAuthenticator/scram256.js' {
  const provider: (options: object) => (context: object) => { authenticate(): Promise<void> }
  export = provider
}

declare module 'kafkajs/src/broker/saslAuthenticator/scram512.js' {
  const provider: (options: object) => (context: object) => { authenticate(): Promise<void> }
  export = provider
}

declare module 'kafkajs/src/network/requestQueue/index.js' {
  class RequestQueue {
    readonly pending: unknown[]
    throttledUntil: number
    throttleCheckTimeoutId: NodeJS.Timeout | null
    checkPendingRequests(): void
    scheduleCheckPendingRequests(): void
  }
  export = RequestQueue
}

declare module 'kafkajs/src/protocol/requests/index.js' {
  interface Protocol {
    readonly request: unknown
    readonly response: {
      decode(payload: Buffer): Promise<unknown>
      parse(decoded: unknown): Promise<unknown>
    }
    readonly requestTimeout?: number
  }
  interface Definition {
    readonly versions: string[]
    protocol(options: { version: number }): (args: object) => Protocol
  }
  const module: { readonly requests: Readonly<Record<string, Definition>> }
  export = module
}

declare module 'kafkajs/src/protocol/requests/apiKeys.js' {
  const apiKeys: Readonly<Record<string, number>>
  export = apiKeys
}

declare module 'kafkajs/src/protocol/error.js' {
  const module: {
    readonly errorCodes: readonly { type: string; code: number; retriable: boolean; message: string }[]
  }
  export = module
}

declare module 'kafkajs/src/protocol/decoder.js' {
  class Decoder {
    constructor(buffer: Buffer)
    readonly buffer: Buffer
  }
  export = Decoder
}

declare module 'kafkajs/src/protocol/recordBatch/v0/decoder.js' {
  interface DecodedRecord {
    readonly timestamp: string
    readonly offset: string
    readonly key: Buffer | null
    readonly value: Buffer | null
    readonly headers: Record<string, Buffer | null | (Buffer | null)[]>
  }
  import Decoder = require('kafkajs/src/protocol/decoder.js')
  const decodeRecordBatch: (decoder: Decoder) => Promise<{ readonly records: DecodedRecord[] }>
  export = decodeRecordBatch
}

declare module 'kafkajs/src/consumer/assignerProtocol.js' {
  interface Metadata {
    version: number
    topics: string[]
    userData: Buffer
  }
  interface Assignment {
    version: number
    assignment: Record<string, number[]>
    userData: Buffer
  }
  const module: {
    readonly MemberMetadata: { encode(metadata: Metadata): Buffer; decode(buffer: Buffer): Metadata }
    readonly MemberAssignment: {
      encode(assignment: Assignment): Buffer
      decode(buffer: Buffer): Assignment | null
    }
  }
  export = module
}

declare module 'kafkajs/src/loggers/index.js' {
  interface Entry {
    namespace: string
    label: 'ERROR' | 'WARN' | 'INFO' | 'DEBUG'
    log: { message: string } & Record<string, unknown>
  }
  const module: {
    readonly LEVELS: Readonly<Record<'NOTHING' | 'ERROR' | 'WARN' | 'INFO' | 'DEBUG', number>>
    createLogger(options: { level: number; logCreator: () => (entry: Entry) => void }): object
  }
  export = module
}
