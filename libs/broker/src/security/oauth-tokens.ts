import { messageOf } from '../broker-error.ts'
import type { OAuthClient } from './kafka-security.ts'
import { SecretError } from './secret-error.ts'

/** A token endpoint that hangs must not hold a connection for longer than it may take to open (ms). */
const ANSWER_MS_MAX = 4_000
/** A token is not used any more so long before its end (ms), or after nine tenths of its life where that is later. */
const MARGIN_MS = 30_000
const USED_OF_LIFE = 0.9
/** What an endpoint that says nothing of `expires_in` is taken to mean (ms). */
const LIFE_UNSAID_MS = 300_000

interface Held {
  readonly client: string
  readonly token: Promise<string>
  /** Monotonic ms; infinite while the endpoint is asked. */
  until: number
}

/** Access tokens of the client credentials grant (RFC 6749, 4.4): one is kept, and shared by all connections. */
export class OAuthTokens {
  #held: Held | null = null

  /** Rejects with a sentence that names the setting to look at; never with what the endpoint was sent. */
  async tokenFor(client: OAuthClient): Promise<string> {
    const key = JSON.stringify([client.tokenUrl, client.clientId, client.clientSecret, client.scope])
    const held = this.#held
    if (held?.client === key && performance.now() < held.until) return await held.token
    const asked = fetchToken(client)
    const fresh: Held = { client: key, token: asked.then(({ token }) => token), until: Infinity }
    this.#held = fresh
    try {
      const { lifeMs } = await asked
      fresh.until = performance.now() + Math.max(lifeMs - MARGIN_MS, lifeMs * USED_OF_LIFE)
    } catch {
      if (this.#held === fresh) this.#held = null
    }
    return await fresh.token
  }
}

async function fetchToken(client: OAuthClient): Promise<{ token: string; lifeMs: number }> {
  const { tokenUrl, clientId, clientSecret, scope } = client
  const credentials = `${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`
  let answer: Response
  let text: string
  try {
    answer = await fetch(tokenUrl, {
      method: 'POST',
      headers: {
        authorization: `Basic ${Buffer.from(credentials).toString('base64')}`,
        accept: 'application/json',
      },
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        ...(scope === undefined ? {} : { scope }),
      }),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    })
    text = await answer.text()
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : ''
    throw new SecretError(
      `the token endpoint (HEADRACE_KAFKA_OAUTH_TOKEN_URL) gave no answer: ${messageOf(error)} ${cause}`.trim(),
      { cause: error },
    )
  }
  if (!answer.ok)
    throw new SecretError(
      `the token endpoint answered ${answer.status}: look at HEADRACE_KAFKA_OAUTH_CLIENT_ID, its secret and HEADRACE_KAFKA_OAUTH_SCOPE`,
    )
  return readToken(text)
}

function readToken(text: string): { token: string; lifeMs: number } {
  let said: { access_token?: unknown; expires_in?: unknown } = {}
  try {
    said = JSON.parse(text) as typeof said
  } catch {
    // Said below: there is no token in it.
  }
  const { access_token: token, expires_in: seconds } = said
  if (typeof token !== 'string' || token === '')
    throw new SecretError(
      'the token endpoint (HEADRACE_KAFKA_OAUTH_TOKEN_URL) answered without an access_token',
    )
  const life = Number(seconds)
  return { token, lifeMs: life > 0 ? life * 1_000 : LIFE_UNSAID_MS }
}
