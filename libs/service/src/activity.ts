/**
 * What happened, for whoever shows it to a person (`headrace dev` prints a line for each). Told after the fact, never
 * awaited, and nothing depends on it; a hook must not throw.
 */
export interface Activity {
  eventAccepted?(event: { topic: string; partition: number; sequenceId: number; id: string }): void
  runStarted?(run: { runId: string; workflow: string }): void
  /** `ms`: from the run's creation to its end. */
  runEnded?(run: { runId: string; workflow: string; status: string; ms: number }): void
}
