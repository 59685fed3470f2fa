import type { Address, LinkSettings } from '../broker-config.ts'
import { kafkaFault, LinkError, messageOf, BrokerError } from '../broker-error.ts'
import { type ConnectionFault, connectionFault, hangUpHint } from '../security/connection-fault.ts'
import type { ConnectionSecurity } from '../security/connection-security.ts'
import { SecretError } from '../security/secret-error.ts'
import { apiKeys, Broker, ConnectionPool, loggers, requestDefinitions } from './kafkajs-internals.ts'
import { applyPatches, socketFactory } from './patches.ts'

/** The longest that SASL may take (ms). */
const AUTHENTICATION_TIMEOUT_MS = 5_000
/**
 * How long before the end of Kafka's session on it a connection is authenticated again (ms), and of a short session
 * which part: kafkajs's 10 s alone would renew one of 10 s with each request, which Kafka refuses.
 */
const RENEW_BEFORE_MS = 10_000
const RENEW_IN_LAST_PART = 0.25

export interface RequestOptions {
  /** Hand over the decoded answer as it is. Without it kafkajs's parser throws the first error it finds in it. */
  raw?: boolean
  /** Longest wait for the answer (ms), where longer than the connection's own. */
  timeoutMs?: number
  /** A fixed protocol version, for answers that are decoded here. */
  version?: number
  /** Replaces the encoding of the request's body. */
  encode?: () => Buffer
  /** Replaces the decoding of the answer. */
  decode?: (payload: Buffer) => Promise<unknown>
}

/** A request that has no answer yet (ms, monotonic). */
interface Wait {
  readonly sentAt: number
  readonly until: number
}

const isHangUp = (error: unknown): boolean =>
  error instanceof Error && error.name === 'KafkaJSConnectionClosedError'

const isTimeout = (error: unknown): boolean =>
  error instanceof Error && error.name === 'KafkaJSRequestTimeoutError'

/**
 * One TCP connection to one broker, opened on first use and never opened again: whoever finds it broken makes another.
 *
 * kafkajs's own pool keeps two connections a broker and sends requests to them by kind; two first fetches at once open
 * two sockets on one of them, and their bytes mix. Here each user has links of its own, and the opening is shared.
 */
export class Link {
  readonly address: Address
  readonly #broker: Broker
  readonly #connection: ConnectionPool.Connection
  readonly #requestTimeoutMs: number
  readonly #security: ConnectionSecurity
  #secured = { tls: false, sasl: false }
  #answered = false
  readonly #underWay = new Set<Wait>()
  #opening: Promise<void> | null = null
  #opened = false
  #closed = false

  constructor(address: Address, settings: LinkSettings) {
    applyPatches()
    this.address = address
    this.#requestTimeoutMs = settings.requestTimeoutMs
    this.#security = settings.security
    const { logger } = settings
    const kafkaLogger = loggers.createLogger({
      // kafkajs logs each refused connection as an error; what matters of it is said by us, once, with a code.
      level: loggers.LEVELS.WARN,
      logCreator:
        () =>
        ({ namespace, log }) =>
          logger.debug({ event: 'kafka.client', namespace, broker: log['broker'] }, log.message),
    })
    const pool = new ConnectionPool({
      ...address,
      rack: null,
      clientId: settings.clientId,
      socketFactory,
      connectionTimeout: settings.connectionTimeoutMs,
      requestTimeout: settings.requestTimeoutMs,
      enforceRequestTimeout: true,
      maxInFlightRequests: null,
      logger: kafkaLogger,
    })
    const [connection] = pool.pool
    if (connection === undefined) throw new TypeError('kafkajs made a pool without connections')
    this.#connection = connection
    this.#broker = new Broker({
      connectionPool: pool,
      logger: kafkaLogger,
      // Its default is true: asking for a deleted topic's metadata would make that topic anew.
      allowAutoTopicCreation: false,
      authenticationTimeout: AUTHENTICATION_TIMEOUT_MS,
    })
  }

  /** False once the connection failed or was closed. A link that was not opened yet is usable. */
  get usable(): boolean {
    return !this.#closed && (!this.#opened || this.#connection.isConnected())
  }

  get opened(): boolean {
    return this.#opened && this.usable
  }

  /** Connects, learns the broker's versions, authenticates. Rejects with a `LinkError` that says nothing was sent. */
  open(): Promise<void> {
    this.#opening ??= this.#open()
    return this.#opening
  }

  async #open(): Promise<void> {
    try {
      const { ssl, sasl } = await this.#security.read()
      this.#secured = { tls: ssl !== null, sasl: sasl !== null }
      this.#connection.ssl = ssl
      this.#connection.sasl = sasl
      if (!this.#closed) await this.#broker.connect()
    } catch (error) {
      this.close()
      throw this.#unopened(error)
    }
    this.#connection.reauthenticationThreshold = Math.min(
      RENEW_BEFORE_MS,
      this.#connection.sessionLifetime.toNumber() * RENEW_IN_LAST_PART,
    )
    if (this.#closed) throw this.#unreachable('the link was closed while it opened')
    this.#opened = true
  }

  /**
   * Sends one request and waits for its answer.
   * @throws {LinkError} when there was no answer; `sent` says whether the broker may have seen the request.
   * @throws {BrokerError} when the answer is an error (never with `raw`).
   */
  async request<Answer>(api: string, args: object, options: RequestOptions = {}): Promise<Answer> {
    await this.open()
    const protocol = this.#protocol(api, options.version)(args)
    const { response } = protocol
    const requestTimeout = options.timeoutMs ?? protocol.requestTimeout
    const sentAt = performance.now()
    const wait = { sentAt, until: sentAt + Math.max(this.#requestTimeoutMs, requestTimeout ?? 0) }
    this.#underWay.add(wait)
    try {
      const answer = await this.#connection.send({
        request: options.encode === undefined ? protocol.request : withBody(protocol.request, options.encode),
        response: {
          decode: options.decode ?? (async (payload) => await response.decode(payload)),
          parse: async (decoded) => (options.raw === true ? decoded : await response.parse(decoded)),
        },
        requestTimeout,
        logResponseError: false,
      })
      this.#answered = true
      return answer as Answer
    } catch (error) {
      if (isTimeout(error) && !this.#isHeldUp(wait)) this.close()
      throw this.#translate(api, error)
    } finally {
      this.#underWay.delete(wait)
    }
  }

  /**
   * Whether an older request that has time left explains why this one was not answered: Kafka answers the requests of a
   * connection in their order. Otherwise the broker hangs, or its machine is gone without a word; TCP notices that after a
   * quarter of an hour, and until then kafkajs would go on writing into the void.
   */
  #isHeldUp(wait: Wait): boolean {
    const now = performance.now()
    return [...this.#underWay].some((other) => other.sentAt < wait.sentAt && other.until > now)
  }

  /** Ends the connection at once; requests under way reject. May be called twice. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    // kafkajs's disconnect waits for answers but has stopped the timer that would end that wait: a broker that hangs
    // would hold it for ever. So what is pending is rejected first, and the socket is not left half open.
    this.#connection.rejectRequests(new Error('the link was closed'))
    const { socket } = this.#connection
    this.#connection.disconnect().then(
      () => socket?.destroy(),
      () => socket?.destroy(),
    )
  }

  #protocol(api: string, fixed: number | undefined) {
    const definition = requestDefinitions.requests[api]
    const key = apiKeys[api]
    const offered = this.#broker.versions?.[String(key)]
    if (definition === undefined || key === undefined) throw new TypeError(`no such Kafka request: ${api}`)
    const newest = Math.max(...definition.versions.map(Number))
    const version = fixed ?? Math.min(newest, offered?.maxVersion ?? -1)
    if (offered === undefined || version < offered.minVersion || version > offered.maxVersion) {
      throw new BrokerError(
        'unsupported_version',
        `this Kafka does not offer ${api} in a version known here`,
        {
          retryable: false,
        },
      )
    }
    return definition.protocol({ version })
  }

  /** A hint names the setting to look at, where the error lets it be told. */
  #unopened(error: unknown): LinkError {
    const { code, hint } = connectionFault(error, this.#secured)
    const hungUp = isHangUp(error) ? hangUpHint(this.#secured) : null
    const help = hint ?? hungUp
    return this.#unreachable(help === null ? messageOf(error) : `${messageOf(error)} (${help})`, error, code)
  }

  #unreachable(
    reason: string,
    cause?: unknown,
    code: ConnectionFault['code'] = 'kafka_unreachable',
  ): LinkError {
    const { host, port } = this.address
    return new LinkError(code, `cannot reach Kafka at ${host}:${port}: ${reason}`, {
      sent: false,
      cause,
    })
  }

  #translate(api: string, error: unknown): BrokerError {
    if (!(error instanceof Error)) return new LinkError('kafka_no_answer', String(error), { sent: true })
    const { code } = error as { code?: unknown }
    if (error.name === 'KafkaJSProtocolError' && typeof code === 'number') {
      const fault = kafkaFault(code)
      return new BrokerError(fault.code, `${api}: ${fault.message}`, {
        retryable: fault.retryable,
        cause: error,
      })
    }
    // Thrown by `failIfNotConnected` before anything is written: the one failure of `send` that is certain.
    if (error.name === 'KafkaJSConnectionError' && error.message === 'Not connected') {
      return this.#unreachable(error.message, error)
    }
    // A session that could not be renewed: the request stands behind the authentication, and was never written.
    if (error.name === 'KafkaJSSASLAuthenticationError' || error instanceof SecretError) {
      this.close()
      return this.#unopened(error)
    }
    const { host, port } = this.address
    // With TLS 1.3 and with SASL a listener refuses us only after the connection stands.
    const hint = this.#answered
      ? null
      : (connectionFault(error, this.#secured).hint ?? (isHangUp(error) ? hangUpHint(this.#secured) : null))
    const why = hint === null ? error.message : `${error.message} (${hint})`
    return new LinkError('kafka_no_answer', `${api} to ${host}:${port} got no answer: ${why}`, {
      sent: true,
      cause: error,
    })
  }
}

/** kafkajs takes a body from its own encoder; of that it needs the bytes. */
function withBody(request: unknown, encode: () => Buffer): object {
  return {
    ...(request as object),
    encode: () => {
      const buffer = encode()
      return Promise.resolve({ buf: buffer, buffer })
    },
  }
}
