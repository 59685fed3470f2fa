import type { Stoppable } from './main.ts'
import type { RunningService, StopOutcome } from './service.ts'

/** An app of ours that is up: in a process of its own, or beside the others in one. */
export interface RunningApp {
  /** Where it serves; null for an app that serves nothing but its management port. */
  readonly url: string | null
  /** Base of `/healthz`, `/readyz` and `/metrics`. */
  readonly managementUrl: string
  /** Resolves when everything is released. May be called any number of times. */
  stop(reason?: string): Promise<void>
  /** Never resolves; rejects if the app died of itself and must be started anew. */
  readonly failed: Promise<never>
}

/** Where an app can be reached: the handle of its service. */
export interface AppAddress {
  url: string | null
  managementUrl: string
  /** Rejects if the app died of itself; left out by apps that cannot. */
  failed?: Promise<never>
}

/** A running service, seen as an app. */
export function toRunningApp(service: RunningService<AppAddress>): RunningApp {
  const { url, managementUrl, failed = new Promise<never>(() => undefined) } = service.handle
  return {
    url,
    managementUrl,
    failed,
    stop: async (reason) => {
      await service.stop(reason)
    },
  }
}

/** An app as `runMain` wants it: its death of itself ends the process with an error. */
export function toStoppable(app: RunningApp): Stoppable {
  const { promise: ended, resolve } = Promise.withResolvers<StopOutcome>()
  return {
    stopped: Promise.race([ended, app.failed]),
    async stop(reason) {
      await app.stop(reason)
      resolve('drained')
      return 'drained'
    },
  }
}
