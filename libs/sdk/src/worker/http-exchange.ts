// Also loaded by the heartbeat's thread from source and from dist: it imports nothing but Node.
import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'

export interface HttpAnswer {
  status: number
  /** Seconds of `Retry-After` as ms; null when absent or a date. */
  retryAfterMs: number | null
  text: string
}

/** An answer is at most what a batch of claims with the largest inputs and steps can be; past it something is wrong. */
const ANSWER_BYTES_MAX = 512 * 1024 * 1024

/** POSTs JSON over kept-alive connections. node:http, because fetch costs three times the CPU a request. */
export class HttpExchange {
  readonly #http = new HttpAgent({ keepAlive: true })
  readonly #https = new HttpsAgent({ keepAlive: true })
  readonly #headers: Record<string, string>

  constructor(headers: Record<string, string>) {
    this.#headers = headers
  }

  /** Rejects when there is no complete answer within `timeoutMs`, or the signal is aborted. */
  async post(
    url: string,
    body: string,
    params: { timeoutMs: number; signal: AbortSignal },
  ): Promise<HttpAnswer> {
    const isTls = url.startsWith('https:')
    const options = {
      method: 'POST',
      agent: isTls ? this.#https : this.#http,
      headers: {
        ...this.#headers,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      },
      signal: params.signal,
    }
    return await new Promise((resolve, reject) => {
      const answered = (response: IncomingMessage): void => {
        readAnswer(response).then(resolve, reject)
      }
      const request = isTls ? httpsRequest(url, options, answered) : httpRequest(url, options, answered)
      // A timer of its own: it covers the answer's last byte too, which the socket's timeout does not.
      const timer = setTimeout(() => {
        request.destroy(new Error(`no answer within ${params.timeoutMs} ms`))
      }, params.timeoutMs)
      request.on('close', () => clearTimeout(timer))
      request.on('error', reject)
      request.end(body)
    })
  }

  close(): void {
    this.#http.destroy()
    this.#https.destroy()
  }
}

async function readAnswer(response: IncomingMessage): Promise<HttpAnswer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > ANSWER_BYTES_MAX) throw new Error(`the answer is larger than ${ANSWER_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  const seconds = Number(response.headers['retry-after'] ?? Number.NaN)
  return {
    status: response.statusCode ?? 0,
    retryAfterMs: Number.isFinite(seconds) ? seconds * 1_000 : null,
    text: Buffer.concat(chunks).toString('utf8'),
  }
}

/** The body of an answer; null when it is none of ours (a proxy's page), whatever its status says. */
export function bodyOf(answer: Pick<HttpAnswer, 'text'>): Readonly<Record<string, unknown>> | null {
  try {
    const body: unknown = JSON.parse(answer.text)
    return typeof body === 'object' && body !== null ? { ...body } : null
  } catch {
    return null
  }
}

/** The stable code of a problem, or null when the answer is none of ours. */
export function problemOf(answer: Pick<HttpAnswer, 'text'>): { code: string; detail: string } | null {
  const { code, detail } = bodyOf(answer) ?? {}
  if (typeof code !== 'string') return null
  return { code, detail: typeof detail === 'string' ? detail : '' }
}

/** The API key is none, or not one for this. */
export const isKeyRefusal = (status: number): boolean => status === 401 || status === 403
