import { ProblemError } from '@headrace/schemas'

/** Who publishes, as far as its pace is of interest. */
interface Publisher {
  readonly keyId: string
  /** Null: as fast as it can. */
  readonly eventsPerSecond: number | null
}

/** Where a publisher stands, as the headers `RateLimit-Policy` and `RateLimit` say it. */
export interface RateState {
  /** Events that may come within a second. */
  readonly quota: number
  /** Events that may come now. */
  readonly remaining: number
  /** Whole seconds until all of the quota is there again. */
  readonly resetSeconds: number
}

/**
 * A bucket of tokens for each API key, in this instance alone: behind two gateways a key has twice its pace. A bucket holds
 * a second's worth. Larger requests pass when it is full and leave it in debt, so that no batch is too large for ever and the
 * pace holds over time.
 */
export interface RateLimit {
  /** Throws `rate_limited`; then nothing was taken. */
  take(publisher: Publisher, events: number): void
  /** Null: the publisher has no limit. */
  stateOf(publisher: Publisher): RateState | null
}

interface Bucket {
  tokens: number
  rate: number
  at: number
}

/** As many as there may be keys; one that is full says nothing and may go. */
const BUCKETS_MAX = 1_000

export function createRateLimit(now: () => number): RateLimit {
  const buckets = new Map<string, Bucket>()

  function bucketOf(keyId: string, rate: number): Bucket {
    const at = now()
    const found = buckets.get(keyId)
    if (found === undefined) {
      if (buckets.size >= BUCKETS_MAX) dropFull(at)
      const bucket = { tokens: rate, rate, at }
      buckets.set(keyId, bucket)
      return bucket
    }
    found.tokens = Math.min(rate, found.tokens + ((at - found.at) / 1_000) * rate)
    found.rate = rate
    found.at = at
    return found
  }

  function dropFull(at: number): void {
    for (const [keyId, bucket] of buckets)
      if (bucket.tokens + ((at - bucket.at) / 1_000) * bucket.rate >= bucket.rate) buckets.delete(keyId)
  }

  return {
    take({ keyId, eventsPerSecond: rate }, events) {
      if (rate === null || events === 0) return
      const bucket = bucketOf(keyId, rate)
      const needed = Math.min(events, rate)
      if (bucket.tokens < needed) {
        const retryAfterSeconds = Math.max(1, Math.ceil((needed - bucket.tokens) / rate))
        const detail = `The API key ${keyId} may publish ${rate} events a second; ${events} more come too early, and were not written`
        throw new ProblemError('rate_limited', detail, { retryAfterSeconds })
      }
      bucket.tokens -= events
    },
    stateOf({ keyId, eventsPerSecond: rate }) {
      if (rate === null) return null
      const { tokens } = bucketOf(keyId, rate)
      return {
        quota: rate,
        remaining: Math.max(0, Math.floor(tokens)),
        resetSeconds: Math.ceil((rate - tokens) / rate),
      }
    },
  }
}

/** The headers of draft-ietf-httpapi-ratelimit-headers-10. */
export const rateHeaders = ({ quota, remaining, resetSeconds }: RateState): Record<string, string> => ({
  'ratelimit-policy': `"events";q=${quota};w=1`,
  ratelimit: `"events";r=${remaining};t=${resetSeconds}`,
})
