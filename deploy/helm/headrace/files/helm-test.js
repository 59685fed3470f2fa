// `helm test`: publishes an event, which starts a run, which waits for another event; then reads back what came of it.
// Runs in Headrace's own image. Ends with 0, or with 1 and the reason; safe to run again, and beside itself.
import { randomUUID } from 'node:crypto'
import { Client, Worker, workflow } from '@headrace/sdk'

const deadline = AbortSignal.timeout(120_000)
const nonce = randomUUID()
const say = (text) => process.stdout.write(`helm test ${nonce}: ${text}\n`)

const started = Promise.withResolvers()
const ping = workflow(
  { id: 'headrace_test', triggerOnEvent: 'headrace_test/ping', queue: 'headrace-test' },
  async (ctx, { events }) => {
    const asked = events[0].data.nonce
    // An event of another test, or the same one published again.
    if (asked !== nonce) return null
    started.resolve(ctx.run.id)
    const stored = await ctx.step.run('stored', () => asked)
    const answer = await ctx.step.waitForEvent('answered', {
      topic: `headrace_test/pong-${asked}`,
      timeout: 100,
    })
    return { stored, answer: answer.data.nonce }
  },
)

async function check() {
  const client = new Client()
  await using worker = new Worker({ workflows: [ping], app: 'headrace-test', build: '1', drainTimeout: '5s' })
  await worker.start()
  say('the worker has begun')
  const published = []
  let runId = null
  // A trigger that is new begins at the end of its stream, a moment after it was registered.
  while (runId === null) {
    deadline.throwIfAborted()
    published.push(await client.events.publish({ topic: 'headrace_test/ping', data: { nonce } }))
    runId = await Promise.race([started.promise, new Promise((resolve) => setTimeout(resolve, 3_000, null))])
  }
  say(`run ${runId} has begun after ${published.length} events`)
  await client.events.publish({ topic: `headrace_test/pong-${nonce}`, data: { nonce } })
  const output = await client.runs.result(runId, { wait: '60s' })
  if (output?.stored !== nonce || output.answer !== nonce)
    throw new Error(`the run returned ${JSON.stringify(output)}`)
  const run = await client.runs.get(runId)
  if (run.status !== 'completed') throw new Error(`the run is ${run.status}`)
  say('its step was stored, its wait answered, its result read back')
}

await Promise.race([
  check(),
  new Promise((_, reject) =>
    deadline.addEventListener('abort', () => reject(new Error('not done after 120 s'))),
  ),
]).then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack}\n`)
    process.exit(1)
  },
)
