// `@headrace/sdk/client`: runs wherever fetch does. Nothing below it imports Node (a test reads the imports).
export { ApiError } from '../errors/api-error.ts'
export { HeadraceError } from '../errors/headrace-error.ts'
export { PublishError, type PublishFailure } from '../errors/publish-error.ts'
export { RunFailedError, RunNotEndedError } from '../errors/run-error.ts'
export { type SchemaFault, SchemaValidationError } from '../errors/step-error.ts'
export {
  type AnyEventDefinition,
  defineEvent,
  type EventArguments,
  type EventDefinition,
} from '../workflow/define-event.ts'
export type { Event, NewEvent, PublishedEvent, StartEvent } from '../workflow/event.ts'
export { Client } from './client.ts'
export type { CallOptions, ClientOptions } from './client-options.ts'
export type { StreamedEvent, StreamGap, StreamOptions } from './event-stream.ts'
export type { Events } from './events.ts'
export type { Run } from './run.ts'
export type { ListOptions, ResultOptions, RunHandle, Runs, StartOptions } from './runs.ts'
