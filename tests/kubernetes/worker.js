// The worker of the tests, in Headrace's own image, which has the SDK. Its bodies tell a witness that they run.
import { Worker, workflow } from '@headrace/sdk'

const BODY_MS = 50

async function body({ witness, id }, step) {
  await fetch(`${witness}/${id}%20${step}`)
  await new Promise((resolve) => setTimeout(resolve, BODY_MS))
}

const load = workflow({ id: 'load', triggerOnEvent: 'load/**' }, async (ctx, { events }) => {
  const [{ data }] = events
  await ctx.step.run('first', async () => await body(data, 'first'))
  await ctx.step.run('last', async () => await body(data, 'last'))
})

await new Worker({
  workflows: [load],
  concurrency: Number(process.env.CONCURRENCY),
  health: { port: 9464 },
}).run()
