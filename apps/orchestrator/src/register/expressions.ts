import { compileCancelFilter, compileFilter, compileWindowKey } from '@headrace/core'
import { type FieldFault, ProblemError, type WorkflowDefinition } from '@headrace/schemas'

/** Filters and keys of triggers that do not compile: no event could be asked, so nothing of the set is registered. */
export function refuseExpressions(workflows: readonly WorkflowDefinition[]): void {
  const faults: FieldFault[] = []
  const check = (compiled: { kind: 'ok' } | { kind: 'invalid'; reason: string } | null, pointer: string) => {
    if (compiled?.kind === 'invalid')
      faults.push({
        pointer,
        code: 'invalid_field',
        detail: `is no expression of CEL that may stand here: ${compiled.reason}`,
      })
  }
  for (const [at, { triggers, concurrency, cancel_on: cancelOn = [] }] of workflows.entries()) {
    const key = concurrency?.key
    check(key === undefined ? null : compileWindowKey(key), `/workflows/${at}/concurrency/key`)
    for (const [place, { if: filter }] of cancelOn.entries())
      check(
        filter === undefined ? null : compileCancelFilter(filter),
        `/workflows/${at}/cancel_on/${place}/if`,
      )
    for (const [place, { if: filter, window }] of triggers.entries()) {
      const trigger = `/workflows/${at}/triggers/${place}`
      check(filter === undefined ? null : compileFilter(filter), `${trigger}/if`)
      check(window.key === undefined ? null : compileWindowKey(window.key), `${trigger}/window/key`)
    }
  }
  if (faults.length > 0) throw ProblemError.fromFaults(faults)
}
