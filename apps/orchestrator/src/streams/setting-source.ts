import type { Setting, SettingKind } from '@headrace/broker'
import type { EventTypeSetting, StreamBinding } from '@headrace/schemas'
import {
  type EventTypeRecord,
  goneEventTypeRevision,
  goneKeyRevision,
  listEventTypes,
  listStreamBindings,
  readEventTypes,
  renewConfigRevisions,
  type Store,
  unboundRevision,
  validKeys,
} from '@headrace/store'

/** Where one kind of setting has its truth. */
export interface SettingSource {
  readonly kind: SettingKind
  /** All that stand. */
  list(): Promise<Pick<Setting, 'name' | 'revision'>[]>
  /** Those of them that there are still, as they are told. */
  read(names: readonly string[]): Promise<Setting[]>
  /** The revision under which it may be told that there is no setting of this name; null: there is one. */
  goneRevision(name: string): Promise<number | null>
  /** Gives those that stand another revision. */
  renew(names: readonly string[]): Promise<void>
}

export const settingSources = (store: Store): readonly SettingSource[] => [
  {
    kind: 'stream',
    ...wholeList(async () => (await listStreamBindings(store)).map(settingOf)),
    goneRevision: async (stream) => await unboundRevision(store, stream),
    renew: async (names) => await renewConfigRevisions(store, 'stream', names),
  },
  {
    kind: 'key',
    ...wholeList(async () => (await validKeys(store)).map(({ key, revision }) => keySetting(key, revision))),
    goneRevision: async (id) => await goneKeyRevision(store, id),
    renew: async (names) => await renewConfigRevisions(store, 'key', names),
  },
  {
    kind: 'event_type',
    // Without their schemas, which may be long: this is asked every few seconds.
    list: async () => await listEventTypes(store),
    read: async (names) => (await readEventTypes(store, names)).map(eventTypeSetting),
    goneRevision: async (name) => await goneEventTypeRevision(store, name),
    renew: async (names) => await renewConfigRevisions(store, 'event_type', names),
  },
]

const wholeList = (list: () => Promise<Setting[]>): Pick<SettingSource, 'list' | 'read'> => ({
  list,
  read: async (names) => (await list()).filter(({ name }) => names.includes(name)),
})

export const settingOf = ({ stream, rule, revision }: StreamBinding): Setting => ({
  kind: 'stream',
  name: stream,
  revision,
  value: rule,
})

type ValidKey = Awaited<ReturnType<typeof validKeys>>[number]['key']

function keySetting({ id, ...value }: ValidKey, revision: number): Setting {
  return { kind: 'key', name: id, revision, value }
}

/** What an event type is checked and written by. */
export const eventTypeValue = ({ schemaType, registered, ...type }: EventTypeRecord): EventTypeSetting => ({
  name: type.name,
  pattern: type.pattern,
  schema_type: schemaType,
  schema: type.schema,
  mode: type.mode,
  schema_id: registered?.id ?? null,
  subject: type.subject,
  dataschema: registered?.url ?? null,
})

const eventTypeSetting = (type: EventTypeRecord): Setting => ({
  kind: 'event_type',
  name: type.name,
  revision: type.revision,
  value: eventTypeValue(type),
})
