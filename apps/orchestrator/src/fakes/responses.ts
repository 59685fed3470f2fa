import { insertResponses, type ResponseRow, type Store } from '@headrace/store'

/** As if the stream had been waited on, projected and opened for a day. */
export async function openedStream(store: Store, stream: string): Promise<void> {
  await store.general.query(
    `insert into waited_streams (stream, projected_from, open_from) values ($1, now() - interval '1 day', now() - interval '1 day')`,
    [stream],
  )
}

const offsets = new Map<string, number>()

/** An event of an opened stream, as the projection and the correlator leave it; nobody has looked for it yet. */
export async function respond(store: Store, topic: string, data: unknown): Promise<ResponseRow> {
  const stream = topic.split('/', 1)[0] ?? ''
  const sequenceId = (offsets.get(stream) ?? -1) + 1
  offsets.set(stream, sequenceId)
  const nowMs = await store.serverNow()
  const row: ResponseRow = {
    topic,
    logTimeMs: Math.floor(nowMs),
    stream,
    incarnation: 1,
    partition: 0,
    sequenceId,
    id: `${stream}-${sequenceId}`,
    source: 'test',
    eventType: null,
    key: null,
    data: JSON.stringify(data),
    traceparent: null,
    external: null,
  }
  await insertResponses(store, [row], { partition: 0, nowMs })
  return row
}
