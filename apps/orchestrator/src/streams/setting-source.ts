import type { Setting, SettingKind } from '@headrace/broker'
import type { StreamBinding } from '@headrace/schemas'
import { goneKeyRevision, listStreamBindings, type Store, unboundRevision, validKeys } from '@headrace/store'

/** Where one kind of setting has its truth. */
export interface SettingSource {
  readonly kind: SettingKind
  /** All that stand. */
  list(): Promise<Setting[]>
  /** The revision under which it may be told that there is no setting of this name; null: there is one. */
  goneRevision(name: string): Promise<number | null>
}

export const settingSources = (store: Store): readonly SettingSource[] => [
  {
    kind: 'stream',
    list: async () => (await listStreamBindings(store)).map(settingOf),
    goneRevision: async (stream) => await unboundRevision(store, stream),
  },
  {
    kind: 'key',
    list: async () => (await validKeys(store)).map(({ key, revision }) => keySetting(key, revision)),
    goneRevision: async (id) => await goneKeyRevision(store, id),
  },
]

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
