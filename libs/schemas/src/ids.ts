/** Strings become ids only where bytes become values; inside, an id of one kind never passes for another. */
declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** Time-ordered UUID (version 7) of a run, made by Headrace. */
export type RunId = Branded<'RunId'>
/** The caller's id of an event, or a UUID the gateway made. At most 256 characters, no NUL. */
export type EventId = Branded<'EventId'>
/** The trigger's name, else its workflow's id. */
export type TriggerId = Branded<'TriggerId'>
/** One start of a worker process. */
export type WorkerId = Branded<'WorkerId'>

export const asRunId = (text: string): RunId => text as RunId
export const asEventId = (text: string): EventId => text as EventId
export const asTriggerId = (text: string): TriggerId => text as TriggerId
export const asWorkerId = (text: string): WorkerId => text as WorkerId

const uuidShape = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** A run id as callers write it, or null. A malformed one cannot name a run: to a caller it is "not found". */
export const parseRunId = (text: string): RunId | null => (uuidShape.test(text) ? asRunId(text) : null)
