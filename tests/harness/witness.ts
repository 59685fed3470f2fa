import type { WorkflowContext } from '@headrace/sdk'
import type { Store } from '@headrace/store'
// The rest of it is vitest's, which a worker's process is not under.
import { eventually } from '@headrace/testing/eventually'
import { type JournalEntry, writeJournal } from './journal.ts'

/** What a test workflow is given of its events. */
interface Events {
  events: readonly { sequenceId: number; data: unknown }[]
}

/**
 * Writes down each body as it begins, and asks Postgres first whether the body's result is stored already: then it ran
 * again although it must not, whatever the timing.
 */
export interface Witness {
  note: (what: JournalEntry['what'], ctx: WorkflowContext, input: Events, step?: string) => void
  /** The body of a step. */
  body: (ctx: WorkflowContext, input: Events, step: string) => Promise<string>
}

export function createWitness({ journal, store }: { journal: string; store: Store }): Witness {
  const note: Witness['note'] = (what, ctx, input, step) =>
    writeJournal(journal, {
      what,
      workflow: ctx.run.workflow,
      run: ctx.run.id,
      step: step ?? null,
      pid: process.pid,
      sequenceIds: input.events.map((event) => event.sequenceId),
      at: Date.now(),
    })
  return {
    note,
    async body(ctx, input, step) {
      // Tests take Postgres away: a witness that failed then would fail the run that it watches.
      const { rowCount } = await eventually(
        'Postgres tells of the step',
        async () =>
          await store.general.query('select from steps where run_id = $1 and key = $2', [ctx.run.id, step]),
      )
      note(rowCount === 0 ? 'body' : 'rerun', ctx, input, step)
      return `${step} of ${ctx.run.id}`
    },
  }
}
