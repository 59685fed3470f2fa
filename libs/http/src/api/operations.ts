import { eventTypeOperations } from './event-type-operations.ts'
import { eventOperations } from './event-operations.ts'
import { internalOperations } from './internal-operations.ts'
import { keyOperations } from './key-operations.ts'
import type { Operations } from './operation.ts'
import { operatorOperations } from './operator-operations.ts'
import { runOperations } from './run-operations.ts'
import { streamOperations } from './stream-operations.ts'
import { triggerOperations } from './trigger-operations.ts'

/**
 * Every route of the HTTP API, but what is only passed on. The gateway serves it as OpenAPI and knows nothing else of the
 * orchestrator's routes, so a table stands here, where both can see it; tests hold each app's routes, their scopes and query
 * parameters, and docs/api.md to it.
 */
export const operations: Operations = {
  ...eventOperations,
  ...streamOperations,
  ...eventTypeOperations,
  ...triggerOperations,
  ...runOperations,
  ...operatorOperations,
  ...keyOperations,
  ...internalOperations,
}
