import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { operations } from './operations.ts'

const page = readFileSync(new URL('../../../../docs/api.md', import.meta.url), 'utf8')

/** `GET /v1/runs/{id}` → its scope and apps, as the page's sections say; what is only passed on is no operation. */
function documented(): Record<string, string> {
  const sections = page.matchAll(
    /^### `(.+)`\n\n(?:`([\w:]+)` · (gateway|orchestrator|gateway, orchestrator)$)?/gm,
  )
  const routes: Record<string, string> = {}
  for (const [heading, route = '', scope, apps] of sections) {
    if (scope === undefined || apps === undefined)
      throw new Error(`docs/api.md: no scope and app below ${heading}`)
    if (scope !== 'passed_on') routes[route] = `${scope} · ${apps}`
  }
  return routes
}

test('docs/api.md and the OpenAPI document have the same routes, with the same scopes and apps', () => {
  const described = Object.entries(operations).map(([route, { scope, apps }]) => [
    route,
    `${scope} · ${apps.join(', ')}`,
  ])
  expect(
    Object.fromEntries(described),
    'give each route a section in docs/api.md and an operation in libs/http/src/api/*-operations.ts',
  ).toEqual(documented())
})

test('each operation has a name of its own', () => {
  const ids = Object.values(operations).map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
})
