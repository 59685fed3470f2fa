import { setTimeout as delay } from 'node:timers/promises'

export interface CheckResult {
  ok: boolean
  /** Why not, or since when; one line. */
  detail: string | null
}

/** One named condition of readiness, set by whoever watches it. Not ok ("starting") until first set. */
export interface HealthCheck {
  ok(detail?: string): void
  fail(detail: string): void
  /** The check no longer counts. */
  remove(): void
}

export interface Readiness {
  ready: boolean
  checks: Record<string, CheckResult>
}

/** What `/readyz` answers. Ready = every check is ok, and the service is not stopping. */
export interface Health {
  /** A check that is set from outside. A name can be used once. */
  check(name: string): HealthCheck
  /** A check that is asked at each `/readyz`. It has 2 s; a throw, a rejection or silence is a failure. */
  probe(name: string, ask: () => CheckResult | Promise<CheckResult>): void
  /** Not ready from here on: the service is stopping and must get no more work. */
  drain(): void
  readiness(): Promise<Readiness>
}

/** A probe that takes longer says as much as one that fails; Kubernetes itself gives up after a few seconds. */
const PROBE_DEADLINE_MS = 2_000

export function createHealth(): Health {
  const checks = new Map<string, () => CheckResult | Promise<CheckResult>>()
  let draining = false

  function add(name: string, ask: () => CheckResult | Promise<CheckResult>): void {
    if (checks.has(name)) throw new Error(`there is a health check "${name}" already`)
    checks.set(name, ask)
  }

  return {
    check(name) {
      let state: CheckResult = { ok: false, detail: 'starting' }
      add(name, () => state)
      return {
        ok: (detail) => {
          state = { ok: true, detail: detail ?? null }
        },
        fail: (detail) => {
          state = { ok: false, detail }
        },
        remove: () => {
          checks.delete(name)
        },
      }
    },
    probe: add,
    drain: () => {
      draining = true
    },
    async readiness() {
      const results = await Promise.all(
        [...checks].map(async ([name, ask]) => [name, await answer(ask)] as const),
      )
      if (draining) results.push(['draining', { ok: false, detail: 'stopping' }])
      return { ready: results.every(([, result]) => result.ok), checks: Object.fromEntries(results) }
    },
  }
}

async function answer(ask: () => CheckResult | Promise<CheckResult>): Promise<CheckResult> {
  const deadline = new AbortController()
  try {
    return await Promise.race([
      Promise.resolve().then(ask),
      delay(PROBE_DEADLINE_MS, null, { signal: deadline.signal, ref: false }).then(() => ({
        ok: false,
        detail: `no answer within ${PROBE_DEADLINE_MS} ms`,
      })),
    ])
  } catch (error) {
    return { ok: false, detail: error instanceof Error ? error.message : String(error) }
  } finally {
    deadline.abort()
  }
}
