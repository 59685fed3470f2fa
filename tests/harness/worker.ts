import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { workflow, Worker } from '@headrace/sdk'
import { openStore } from '@headrace/store'
import { passGate } from './gate.ts'
import { waitingWorkflows } from './waiting-workflows.ts'
import { createWitness } from './witness.ts'

/** The worker of the process tests, with the workflows that a test names. */
const setting = (name: string): string => process.env[name] ?? ''
const gate = setting('HEADRACE_TEST_GATE')
const store = openStore({
  url: setting('HEADRACE_TEST_DATABASE_URL') || databaseOfDev(),
  applicationName: 'test-worker',
})

/** `headrace dev` passes its data folder, where its Postgres's port and password are kept. */
function databaseOfDev(): string {
  const folder = join(process.argv[2] ?? '', 'postgres')
  const { port }: { port: number } = JSON.parse(readFileSync(join(folder, 'ports.json'), 'utf8'))
  return `postgres://headrace:${readFileSync(join(folder, 'password'), 'utf8').trim()}@127.0.0.1:${port}/headrace`
}

const witness = createWitness({ journal: setting('HEADRACE_TEST_JOURNAL'), store })
const { note, body } = witness

/** Three steps, each of which stands on the one before. */
const threeSteps = workflow({ id: 'three_steps', triggerOnEvent: 'load/**' }, async (ctx, input) => {
  note('handler', ctx, input)
  const first = await ctx.step.run('first', async () => await body(ctx, input, 'first'))
  const second = await ctx.step.run('second', async () => `${first}, ${await body(ctx, input, 'second')}`)
  return await ctx.step.run('third', async () => `${second}, ${await body(ctx, input, 'third')}`)
})

const tenAtATime = workflow(
  { id: 'ten_at_a_time', triggerOnEvent: 'windows/**', batchSize: 10, batchTimeoutSeconds: 2 },
  async (ctx, input) => {
    note('handler', ctx, input)
    return await ctx.step.run('sum', async () => await body(ctx, input, 'sum'))
  },
)

/** Its bodies wait until the test opens the gate. */
const gated = workflow({ id: 'gated', triggerOnEvent: 'gated/**' }, async (ctx, input) => {
  note('handler', ctx, input)
  await ctx.step.run('before', async () => await body(ctx, input, 'before'))
  await ctx.step.run('held', async () => {
    await body(ctx, input, 'held')
    await passGate(gate)
  })
  return await ctx.step.run('after', async () => await body(ctx, input, 'after'))
})

const one = workflow({ id: 'only_one', triggerOnEvent: 'only/one' }, async (ctx, input) => {
  note('handler', ctx, input)
  return await ctx.step.run('it', async () => await body(ctx, input, 'it'))
})

const other = workflow({ id: 'only_other', triggerOnEvent: 'only/other' }, async (ctx, input) => {
  note('handler', ctx, input)
  return await ctx.step.run('it', async () => await body(ctx, input, 'it'))
})

/** One after the other for each key, each a single step without I/O. */
const inTurn = workflow(
  { id: 'in_turn', triggerOnEvent: 'turns/**', concurrency: { limit: 1, key: 'event.data.key' } },
  async (ctx, input) => await ctx.step.run('it', () => note('body', ctx, input, 'it')),
)

const wanted = new Set(setting('HEADRACE_TEST_WORKFLOWS').split(','))
const workflows = [
  threeSteps,
  tenAtATime,
  gated,
  one,
  other,
  inTurn,
  ...waitingWorkflows(witness, gate),
].filter(({ id }) => wanted.has(id))
const concurrency = Number(setting('HEADRACE_TEST_CONCURRENCY') || 300)
await new Worker({ workflows, concurrency }).run()
await store.close()
