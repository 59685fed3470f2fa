// The worker under load, in Headrace's own image, which has the SDK. The witness decides how long a body takes.
import { Worker, workflow } from '@headrace/sdk'

const load = workflow({ id: 'load', triggerOnEvent: 'load/**' }, async (ctx, { events }) => {
  const [{ data }] = events
  const body = async (step) => {
    const response = await fetch(`${data.witness}/${data.id}/${ctx.run.id}/${step}`)
    if (!response.ok) throw new Error(`the witness answered ${response.status}`)
  }
  await ctx.step.run('first', async () => await body('first'))
  await ctx.step.run('last', async () => await body('last'))
})

await new Worker({ workflows: [load], concurrency: 20, health: { port: 9464 } }).run()
