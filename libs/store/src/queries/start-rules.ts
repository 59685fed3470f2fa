import { concurrencyKeyOfInput } from '@headrace/core'
import type { CancelRule } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { run, statement } from '../statement.ts'

/** `failed`: why there is no key. Null key: the workflow's rule has no expression, or the workflow has no rule. */
export type KeyOfStart = { kind: 'key'; key: string | null } | { kind: 'failed'; reason: string }

const noKey: KeyOfStart = { kind: 'key', key: null }

/** What the rules of its workflow make of a run that is about to be started. */
export interface StartRules {
  key: KeyOfStart
  /** What cancels it. */
  cancelOn: readonly CancelRule[]
}

interface RulesRow {
  id: string
  concurrency_key: string | null
  cancel_on: CancelRule[] | null
}

const ruled = `(w.concurrency_key is not null or w.definition ? 'cancel_on')`
const rulesStatement = statement(
  'start_rules',
  `select w.id, w.concurrency_key, w.cancel_on from (select distinct id from unnest($1::text[]) u(id)) u
   cross join lateral (
     select w.id, w.concurrency_key, w.definition -> 'cancel_on' as cancel_on from workflows w where w.id = u.id and ${ruled} offset 0) w`,
)

const rulesOfRunsStatement = statement(
  'start_rules_of_runs',
  `select r.id, r.input, w.concurrency_key, w.cancel_on from unnest($1::uuid[]) u(id)
   cross join lateral (select r.id, r.workflow, r.input from runs r where r.id = u.id offset 0) r
   cross join lateral (
     select w.concurrency_key, w.definition -> 'cancel_on' as cancel_on from workflows w where w.id = r.workflow and ${ruled} offset 0) w`,
)

/**
 * The rules of runs that are about to be started with an input (JSON text), index-aligned. One look for all; a workflow
 * without such rules costs no more than that.
 */
export async function rulesOfStarts(
  { hot }: Store,
  starts: readonly { workflow: string; input: string | null }[],
): Promise<StartRules[]> {
  if (starts.length === 0) return []
  const rows = await run<RulesRow & { [column: string]: unknown }>(hot, rulesStatement, [
    starts.map(({ workflow }) => workflow),
  ])
  const byWorkflow = new Map(rows.map((row) => [row.id, row]))
  return starts.map(({ workflow, input }) => {
    const row = byWorkflow.get(workflow)
    const expression = row?.concurrency_key ?? null
    return {
      key: expression === null ? noKey : (concurrencyKeyOfInput(expression, input) ?? noKey),
      cancelOn: row?.cancel_on ?? [],
    }
  })
}

/** By the run that is retried. */
export interface RetryRules {
  /** Its input, JSON text. */
  input: string | null
  key: string | null
  cancelOn: readonly CancelRule[]
}

/**
 * The rules under which these runs are retried: those of their workflow as it is now, over their input. Where the key fails
 * on it, it is that of runs without one: the run was started once, and what fails is a rule that came later. Runs without
 * rules are left out.
 */
export async function rulesOfRetries(
  { hot }: Store,
  runIds: readonly string[],
): Promise<Map<string, RetryRules>> {
  const rows = await run<RulesRow & { input: string | null }>(hot, rulesOfRunsStatement, [runIds])
  return new Map(
    rows.map(({ id, input, concurrency_key: expression, cancel_on: cancelOn }) => {
      const answer = expression === null ? null : concurrencyKeyOfInput(expression, input)
      return [id, { input, key: answer?.kind === 'key' ? answer.key : null, cancelOn: cancelOn ?? [] }]
    }),
  )
}
