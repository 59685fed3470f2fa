import { limits, parseRunId } from '@headrace/schemas'
import {
  findStreamBinding,
  getKey,
  getRun,
  getTrigger,
  getWorkflow,
  readEventTypes,
  type Store,
} from '@headrace/store'
import { wireKey } from '../keys/issue-key.ts'
import { eventTypeValue } from '../streams/setting-source.ts'

type Fields = Readonly<Record<string, unknown>>
type Params = Readonly<Record<string, string>>

/** What the audit log keeps of the things below a path. Nothing of what events and runs hold, and no secret. */
interface AuditFacts {
  readonly below: string
  before?(store: Store, params: Params): Promise<Fields | null>
  after(told: Fields, asked: Fields): Fields
}

const facts: readonly AuditFacts[] = [
  {
    below: '/v1/runs/bulk',
    after: (told, { filter }) => ({ ...told, filter }),
  },
  {
    below: '/v1/runs',
    async before(store, { id = '' }) {
      const runId = parseRunId(id)
      const run = runId === null ? null : await getRun(store, runId)
      return run === null ? null : { status: run.status, epoch: run.epoch }
    },
    after: (told) => picked(told, ['id', 'workflow', 'status', 'epoch', 'retry_of', 'run_id', 'key', 'kind']),
  },
  {
    below: '/v1/triggers',
    async before(store, { id = '' }) {
      const trigger = await getTrigger(store, id)
      return trigger === null ? null : { status: trigger.status, reason: trigger.reason }
    },
    after: (told) => without(told, 'cursors'),
  },
  {
    below: '/v1/workflows',
    async before(store, { id = '' }) {
      const workflow = await getWorkflow(store, id)
      return workflow === null ? null : { status: workflow.status }
    },
    after: (told) => picked(told, ['id', 'status']),
  },
  {
    below: '/v1/streams',
    async before(store, { stream = '' }) {
      const binding = await findStreamBinding(store.general, stream)
      return binding === null ? null : { ...binding.rule, revision: binding.revision }
    },
    after: (told) => told,
  },
  {
    below: '/v1/event-types',
    async before(store, { name = '' }) {
      const [type] = await readEventTypes(store, [name])
      return type === undefined ? null : { ...eventTypeValue(type) }
    },
    after: (told) => told,
  },
  {
    below: '/v1/keys',
    async before(store, { id = '' }) {
      const key = await getKey(store, id)
      return key === null ? null : { ...wireKey(key) }
    },
    after: (told) => without(told, 'key'),
  },
  { below: '/v1/dead-letters', after: (told) => picked(told, ['id', 'status', 'reason', 'decision']) },
]

const whatever: AuditFacts = { below: '/', after: (told) => told }

export const factsOf = (url: string): AuditFacts =>
  facts.find(({ below }) => url === below || url.startsWith(`${below}/`)) ?? whatever

const picked = (fields: Fields, names: readonly string[]): Fields =>
  Object.fromEntries(names.flatMap((name) => (name in fields ? [[name, fields[name]]] : [])))

const without = (fields: Fields, name: string): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([each]) => each !== name))

/** As it is kept: JSON of bounded length. */
export function boundedJson(fields: Fields | null): string | null {
  if (fields === null) return null
  const text = JSON.stringify(fields)
  const bytes = Buffer.byteLength(text)
  return bytes <= limits.auditBytesMax ? text : JSON.stringify({ truncated: true, bytes })
}
