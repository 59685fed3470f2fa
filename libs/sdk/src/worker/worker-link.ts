import type { Command, CommandReply } from '@headrace/schemas'

/**
 * The way of a worker's commands to the orchestrator and of its answers back. Everything above it is indifferent to
 * how it is done: one request at a time over HTTP (http-link.ts) today, a held-open stream another day.
 */
export interface WorkerLink {
  /**
   * The answer to this command; it is sent again until there is one, in the order given.
   * Rejects with LinkClosedError once the link is closed.
   */
  send(command: Command): Promise<CommandReply>
  /** Commands without an answer so far. */
  readonly pending: number
  close(): void
}

/** The link was closed before the command was answered; whether it took effect is not known. */
export class LinkClosedError extends Error {
  override readonly name = 'LinkClosedError'
}
