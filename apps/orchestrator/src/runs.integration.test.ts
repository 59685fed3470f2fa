import type { Task, WireList, WireRun, WireStep } from '@headrace/schemas'
import { createDatabase, eventually, infra, readTopic } from '@headrace/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stepCommand, workflowOf } from './fakes/fake-worker.ts'
import { type Started, startedOrchestrator } from './fakes/started-orchestrator.ts'

const { brokers, prefix } = await infra()
const { url: databaseUrl } = await createDatabase()
const told: string[] = []
let headrace: Started

beforeAll(async () => {
  headrace = await startedOrchestrator({
    brokers,
    prefix,
    databaseUrl,
    activity: {
      runStarted: ({ runId }) => told.push(`started ${runId}`),
      runEnded: ({ runId, status }) => told.push(`${status} ${runId}`),
    },
  })
})
afterAll(async () => await headrace.stop())

async function start(workflow: string, body: Record<string, unknown> = {}): Promise<WireRun> {
  const answer = await headrace.call<WireRun>('/v1/runs', { method: 'POST', body: { workflow, ...body } })
  expect(answer.status).toBe(201)
  return answer.body
}
const read = async (id: string, query = ''): Promise<WireRun> =>
  (await headrace.call<WireRun>(`/v1/runs/${id}${query}`)).body
const tasks = async (queue: string): Promise<Task[]> =>
  (await readTopic(brokers, `${prefix}.tasks.${queue}`)).map(
    (record) => JSON.parse(String(record.value)) as Task,
  )

describe('a run', () => {
  test('goes from registration to its end, and everything on the way can be read', async () => {
    const worker = await headrace.worker({ workflows: [workflowOf('report')] })
    await worker.beat({ partitions: [0, 1] })
    const run = await start('report', { input: { day: '2026-11-23' }, tags: { team: 'a' } })
    expect(run).toMatchObject({
      status: 'queued',
      epoch: 1,
      blocked_reason: null,
      input: { day: '2026-11-23' },
    })

    const task = await eventually('the task is on its topic', async () =>
      (await tasks('default')).find((each) => each.run_id === run.id),
    )
    expect(task).toEqual({
      run_id: run.id,
      epoch: 1,
      workflow: 'report',
      lost: 0,
      input: '{"day":"2026-11-23"}',
    })

    const claimed = await worker.claim(run.id)
    expect(claimed).toMatchObject({
      run_id: run.id,
      workflow: 'report',
      input: '{"day":"2026-11-23"}',
      steps: [],
    })
    expect(await read(run.id)).toMatchObject({ status: 'running', worker_id: worker.id })

    const waiting = read(run.id, '?wait=30s')
    const replies = await worker.do(
      stepCommand(run.id, 'load', { output: '{"rows":3}' }),
      stepCommand(run.id, 'send', { n: 1 }),
      { kind: 'complete', run_id: run.id, epoch: 1, output: '{"rows":3}' },
    )
    expect(replies).toEqual([{ kind: 'stored' }, { kind: 'stored' }, { kind: 'done' }])
    expect(await waiting).toMatchObject({ status: 'completed', output: { rows: 3 }, tags: { team: 'a' } })
    const { body } = await headrace.call<WireList<WireStep>>(`/v1/runs/${run.id}/steps`)
    expect(body.data.map(({ key, status, output }) => [key, status, output])).toEqual([
      ['load', 'completed', { rows: 3 }],
      ['send', 'completed', 'ok'],
    ])
    expect(told).toEqual([`started ${run.id}`, `completed ${run.id}`])
  })

  test('fails with the error its worker gave', async () => {
    const worker = await headrace.worker({ workflows: [workflowOf('report')] })
    const run = await start('report')
    await worker.claim(run.id)
    const error = { name: 'TypeError', message: 'no rows', code: null, stack: 'at x', step_key: 'load' }
    expect(await worker.do({ kind: 'fail', run_id: run.id, epoch: 1, error: JSON.stringify(error) })).toEqual(
      [{ kind: 'done' }],
    )
    expect(await read(run.id, '?wait=1s')).toMatchObject({ status: 'failed', error })
  })

  test('that is given back is queued at the next epoch, and its next task is sent', async () => {
    const worker = await headrace.worker({ workflows: [workflowOf('report')] })
    await worker.beat({ partitions: [0, 1] })
    const run = await start('report')
    await worker.claim(run.id)
    expect(
      await worker.do(stepCommand(run.id, 'load'), { kind: 'release', run_id: run.id, epoch: 1 }),
    ).toEqual([{ kind: 'stored' }, { kind: 'done' }])
    await eventually('the second task', async () =>
      (await tasks('default')).find((each) => each.run_id === run.id && each.epoch === 2),
    )
    const again = await worker.claim(run.id, 2)
    expect(again.steps.map(({ key, output }) => [key, output])).toEqual([['load', '"ok"']])
  })
})

describe('a command that is sent again changes nothing', () => {
  test('claim, step, complete, fail and release are answered as the first time', async () => {
    const worker = await headrace.worker({ workflows: [workflowOf('report')] })
    const [completed, failed, released] = [
      await start('report'),
      await start('report'),
      await start('report'),
    ]
    for (const run of [completed, failed, released]) {
      expect(await worker.claim(run.id)).toEqual(await worker.claim(run.id))
    }
    const commands = [
      stepCommand(completed.id, 'a'),
      { kind: 'complete', run_id: completed.id, epoch: 1, output: '1' },
      { kind: 'fail', run_id: failed.id, epoch: 1, error: '{}' },
      { kind: 'release', run_id: released.id, epoch: 1 },
    ] as const
    const first = await worker.do(...commands)
    expect(first).toEqual([{ kind: 'stored' }, { kind: 'done' }, { kind: 'done' }, { kind: 'done' }])
    expect(await worker.do(...commands)).toEqual(first)
    expect((await read(released.id)).epoch).toBe(2)
  })

  test('another result under a stored key loses, and is told which one counts', async () => {
    const worker = await headrace.worker({ workflows: [workflowOf('report')] })
    const run = await start('report')
    await worker.claim(run.id)
    await worker.do(stepCommand(run.id, 'a', { output: '1' }), { kind: 'release', run_id: run.id, epoch: 1 })
    await worker.claim(run.id, 2)
    const [reply] = await worker.do(stepCommand(run.id, 'a', { epoch: 2, output: '2' }))
    expect(reply).toMatchObject({ kind: 'exists', step: { key: 'a', epoch: 1, output: '1' } })
  })
})

describe('whoever lost a run is told so', () => {
  test('a worker of an older epoch stores nothing and ends nothing', async () => {
    const [first, second] = [
      await headrace.worker({ workflows: [workflowOf('report')] }),
      await headrace.worker({ workflows: [workflowOf('report')] }),
    ]
    const run = await start('report')
    await first.claim(run.id)
    expect(await second.do({ kind: 'claim', run_id: run.id, epoch: 1, want_input: true })).toEqual([
      { kind: 'lost' },
    ])
    await first.do({ kind: 'release', run_id: run.id, epoch: 1 })
    await second.claim(run.id, 2)
    expect(
      await first.do(stepCommand(run.id, 'late'), {
        kind: 'complete',
        run_id: run.id,
        epoch: 1,
        output: '1',
      }),
    ).toEqual([{ kind: 'lost' }, { kind: 'lost' }])
    expect(await first.beat({ runs: [{ run_id: run.id, epoch: 1 }] })).toEqual({
      status: 'ok',
      lost: [{ run_id: run.id, epoch: 1 }],
    })
    expect(await read(run.id)).toMatchObject({ status: 'running', epoch: 2, worker_id: second.id })
  })
})

describe('two workers with different workflows on one queue', () => {
  test('a run goes only to one that has its code, and is blocked where none has', async () => {
    const queue = 'mixed'
    const [left, right] = [
      await headrace.worker({ queue, app: 'left', workflows: [workflowOf('left', undefined, queue)] }),
      await headrace.worker({ queue, app: 'right', workflows: [workflowOf('right', undefined, queue)] }),
    ]
    await left.beat({ partitions: [0] })
    await right.beat({ partitions: [1] })
    const runs = {
      left: [await start('left'), await start('left')],
      right: [await start('right'), await start('right')],
    }
    const all = [...runs.left, ...runs.right].map(({ id }) => id)
    await eventually('four tasks', async () => (await tasks(queue)).length === all.length)
    const records = await readTopic(brokers, `${prefix}.tasks.${queue}`)
    for (const record of records) {
      expect((JSON.parse(String(record.value)) as Task).workflow).toBe(
        record.partition === 0 ? 'left' : 'right',
      )
    }
    await right.beat({ partitions: [1], status: 'draining' })
    const blocked = await start('right')
    expect(blocked.blocked_reason).toBe('no_worker')
    const listed = await headrace.call<WireList<WireRun>>('/v1/runs?workflow=right&status=queued&limit=1')
    expect(listed.body.data[0]).toMatchObject({ id: blocked.id, blocked_reason: 'no_worker' })
    expect(listed.body.data[0]).not.toHaveProperty('input')
  })
})
