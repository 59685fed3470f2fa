import type { Command, CommandReply } from '@headrace/schemas'
import type { RunStats } from './run-stats.ts'

/** Fields first, then the sentence, as pino has it. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** What an execution needs of its worker: a way to the orchestrator, time and randomness. */
export interface RunHost {
  /** Resolves with the answer, however often it has to be sent; rejects only when the link is gone for good. */
  send(command: Command): Promise<CommandReply>
  /** ms since 1970. */
  now(): number
  /** Resolves after the delay, or at once when the signal is aborted; never rejects. */
  delay(ms: number, signal: AbortSignal): Promise<void>
  random(): number
  uuid(): string
  /** Of this worker's code. */
  readonly build: string
  readonly log: Logger
  /** What is counted of this workflow. */
  statsOf(workflow: string): RunStats
}
