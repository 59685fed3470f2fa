import type { WireList, WireRun, WireWait } from '@headrace/schemas'
import { eventually } from '@headrace/testing'
import { getJson, listRuns, publish } from './platform.ts'

/** The place of an accepted event. */
export interface Place {
  partition: number
  sequenceId: number
}

/** Publishes one event, which must be accepted. */
export async function send(url: string, topic: string, data: unknown, key?: string): Promise<Place> {
  const answer = await publish(url, { topic, data, ...(key === undefined ? {} : { key }) })
  if (answer.status !== 200) throw new Error(`${topic}: ${answer.status} ${JSON.stringify(answer.body)}`)
  const [event] = answer.body.events ?? []
  return { partition: event?.partition ?? -1, sequenceId: event?.sequence_id ?? -1 }
}

/** The run that an event started, once it is there. */
export async function runOf(url: string, workflow: string, place: Place): Promise<WireRun> {
  return await eventually(`a run of ${workflow} for ${JSON.stringify(place)}`, async () => {
    const runs = await listRuns(url, workflow)
    return (
      runs.find(
        ({ trigger }) =>
          trigger?.partition === place.partition && trigger.first_sequence_id === place.sequenceId,
      ) ?? null
    )
  })
}

/** The run that an event started, once it ended. */
export async function endOf(url: string, workflow: string, place: Place): Promise<WireRun> {
  const { id } = await runOf(url, workflow, place)
  return await eventually(
    `run ${id} of ${workflow} ended`,
    async () => {
      const run = await getJson<WireRun>(`${url}/v1/runs/${id}`)
      return run.finished_at === null ? null : run
    },
    { deadlineMs: 240_000 },
  )
}

/** Resolves when the run is parked on a wait. */
export async function parked(url: string, workflow: string, place: Place): Promise<WireRun> {
  const { id } = await runOf(url, workflow, place)
  return await eventually(`run ${id} of ${workflow} waits`, async () => {
    const run = await getJson<WireRun>(`${url}/v1/runs/${id}`)
    return run.status === 'waiting' ? run : null
  })
}

/** Resolves when a wait on the topic is registered, and open unless said otherwise. */
export async function waitOn(
  url: string,
  topic: string,
  status: WireWait['status'] = 'open',
): Promise<WireWait> {
  return await eventually(`a wait on ${topic} is ${status}`, async () => {
    const { data }: WireList<WireWait> = await getJson(
      `${url}/v1/waits?topic=${encodeURIComponent(topic)}&status=${status}`,
    )
    return data[0] ?? null
  })
}
