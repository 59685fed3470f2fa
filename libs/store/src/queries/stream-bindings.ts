import { bindingRuleSchema, type StreamBinding } from '@headrace/schemas'
import type { Store } from '../connection.ts'
import { type Connection, run, statement, transaction } from '../statement.ts'

interface BindingRow extends Record<string, unknown> {
  stream: string
  rule: string
  revision: number
}

const toBinding = ({ stream, rule, revision }: BindingRow): StreamBinding => ({
  stream,
  rule: bindingRuleSchema.parse(JSON.parse(rule)),
  revision,
})

const listStatement = statement(
  'list_stream_bindings',
  `select b.stream, b.rule, b.revision from stream_bindings b order by b.stream`,
)

/** All external streams. They are few: at most as many as there may be streams. */
export async function listStreamBindings(store: Store): Promise<StreamBinding[]> {
  return (await run<BindingRow>(store.general, listStatement, [])).map(toBinding)
}

const oneStatement = statement(
  'stream_binding',
  `select b.stream, b.rule, b.revision from stream_bindings b where b.stream = $1`,
)

/** What a stream is bound to; null for one of our own. */
export async function findStreamBinding(
  connection: Connection,
  stream: string,
): Promise<StreamBinding | null> {
  const [row] = await run<BindingRow>(connection, oneStatement, [stream])
  return row === undefined ? null : toBinding(row)
}

const putStatement = statement(
  'put_stream_binding',
  `insert into stream_bindings as b (stream, kafka_topic, rule) values ($1, $2, $3)
   on conflict (stream) do update set rule = excluded.rule, revision = nextval('config_revisions'), updated_at = now()
     where b.kafka_topic = excluded.kafka_topic
   returning b.stream, b.rule, b.revision`,
)

/** Null: it is bound to another Kafka topic. The caller has seen to it that no other stream has the topic. */
export async function putStreamBinding(
  connection: Connection,
  { stream, rule }: Omit<StreamBinding, 'revision'>,
): Promise<StreamBinding | null> {
  const values = [stream, rule.kafka_topic, JSON.stringify(rule)]
  const [row] = await run<BindingRow>(connection, putStatement, values)
  return row === undefined ? null : toBinding(row)
}

const unbindStatement = statement(
  'unbind_stream',
  `with gone as (delete from stream_bindings b where b.stream = $1 returning b.stream)
   select nextval('config_revisions') as revision from gone`,
)

/** Takes a binding away; the Kafka topic stays as it is. The revision of that, or null where there was none. */
export async function unbindStream(store: Store, stream: string): Promise<number | null> {
  const [row] = await run<{ revision: number }>(store.general, unbindStatement, [stream])
  return row?.revision ?? null
}

const unboundStatement = statement(
  'unbound_revision',
  `select nextval('config_revisions') as revision where not exists (select 1 from stream_bindings b where b.stream = $1)`,
)

/**
 * The revision under which it may be told that a stream is not bound; null: it is. A binding that is being made is waited for:
 * committed later under a revision from before, it would not count against what is told.
 */
export async function unboundRevision(store: Store, stream: string): Promise<number | null> {
  return await transaction(store.general, async (client) => {
    await client.query('lock table stream_bindings in share row exclusive mode')
    const [row] = await run<{ revision: number }>(client, unboundStatement, [stream])
    return row?.revision ?? null
  })
}
