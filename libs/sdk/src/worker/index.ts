// `@headrace/sdk/worker`: what a worker is made of. The last two are for programs that register event types without one.
export { Worker } from './worker.ts'
export type { WorkerOptions } from './settings.ts'
export type { Logger } from '../run/run-host.ts'
export { type EventTypes, eventTypesOf } from '../event-type/event-types.ts'
export { isEventDefinition } from '../workflow/define-event.ts'
