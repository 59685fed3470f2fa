import type { CommandReply, WireRun } from '@headrace/schemas'
import { type FakeWorker, suspendCommand, waitCommand, workflowOf } from './fake-worker.ts'
import type { Started } from './started-orchestrator.ts'

/** `eventually` of libs/testing, which only tests themselves may import. */
export type Eventually = (
  description: string,
  look: () => Promise<boolean>,
  options?: { deadlineMs?: number },
) => Promise<unknown>

/** A question to a Kafka that is away takes its time. */
const SETTLED_MS = 100_000

type WaitOptions = Parameters<typeof waitCommand>[3]
interface WaitState {
  status: string
  unverified: boolean
  /** What the step was given: an event, or an error. */
  output: Record<string, unknown> | null
  error: Record<string, unknown> | null
}

/** Runs that wait, each for one event under the key `w`. */
export interface WaitingRuns {
  readonly worker: FakeWorker
  /** A run in the worker's hands. */
  claimed(): Promise<string>
  wait(runId: string, topic: string, options?: WaitOptions): Promise<CommandReply | undefined>
  /** A parked run that waits for this topic. */
  parked(topic: string, options?: WaitOptions): Promise<string>
  state(runId: string): Promise<WaitState>
  /** Once the wait is no longer open. */
  settled(runId: string): Promise<WaitState>
  run(runId: string): Promise<WireRun>
}

export async function waitingRuns(headrace: Started, eventually: Eventually): Promise<WaitingRuns> {
  const worker = await headrace.lastingWorker({ workflows: [workflowOf('waits')] })
  async function claimed(): Promise<string> {
    const { body } = await headrace.call<WireRun>('/v1/runs', {
      method: 'POST',
      body: { workflow: 'waits' },
    })
    await worker.claim(body.id)
    return body.id
  }
  const wait: WaitingRuns['wait'] = async (runId, topic, options) =>
    (await worker.do(waitCommand(runId, 'w', topic, options)))[0]
  async function state(runId: string): Promise<WaitState> {
    const { rows } = await headrace.store.general.query<{
      status: string
      unverified: boolean
      output: string | null
      error: string | null
    }>(
      `select w.status, w.unverified, s.output, s.error from waits w left join steps s on s.run_id = w.run_id and s.key = w.key
       where w.run_id = $1 and w.key = 'w'`,
      [runId],
    )
    const [row] = rows
    if (!row) throw new Error(`run ${runId} has no wait`)
    const parse = (text: string | null): Record<string, unknown> | null =>
      text === null ? null : (JSON.parse(text) as Record<string, unknown>)
    return { ...row, output: parse(row.output), error: parse(row.error) }
  }
  return {
    worker,
    claimed,
    wait,
    async parked(topic, options) {
      const runId = await claimed()
      const reply = await wait(runId, topic, options)
      if (reply?.kind !== 'waiting') throw new Error(`does not wait: ${JSON.stringify(reply)}`)
      await worker.do(suspendCommand(runId))
      return runId
    },
    state,
    async settled(runId) {
      let now = await state(runId)
      await eventually(
        `the wait of ${runId} is settled`,
        async () => {
          now = await state(runId)
          return !['pending', 'open'].includes(now.status)
        },
        { deadlineMs: SETTLED_MS },
      )
      return now
    },
    run: async (runId) => (await headrace.call<WireRun>(`/v1/runs/${runId}`)).body,
  }
}

/** Resolves once a duty that the orchestrator runs again and again was run twice more, from its beginning to its end. */
export async function lookedAgain(headrace: Started, duty: string, eventually: Eventually): Promise<void> {
  const runs = async (): Promise<number> => {
    const text = await (await fetch(`${headrace.app.managementUrl ?? ''}/metrics`)).text()
    const line = text
      .split('\n')
      .find((each) => each.startsWith(`headrace_duty_seconds_count{duty="${duty}"}`))
    return Number(line?.split(' ').at(-1) ?? 0)
  }
  const before = await runs()
  await eventually(`${duty} was run twice`, async () => (await runs()) >= before + 2)
}
