import { startOwnSchemaRegistry } from '@headrace/testing'
import { expect, test } from 'vitest'

/** Two starts, each of which may take its 120 s. */
const DEADLINE_MS = 300_000

test(
  'a schema registry that is killed and started again answers at its address and knows its schemas',
  async () => {
    const registry = await startOwnSchemaRegistry()
    const schema = '{"type":"record","name":"Order","fields":[{"name":"total","type":"long"}]}'
    const answer = await fetch(`${registry.url}/subjects/orders-value/versions`, {
      method: 'POST',
      headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
      body: JSON.stringify({ schema }),
    })
    const { id } = (await answer.json()) as { id: number }
    await registry.kill()
    await registry.refused()
    await registry.start()
    const found = await fetch(`${registry.url}/schemas/ids/${id}`)
    expect(await found.json()).toMatchObject({ schema })
  },
  DEADLINE_MS,
)
