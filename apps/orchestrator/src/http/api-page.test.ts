import { readFileSync } from 'node:fs'
import { createAuthorize, createHttpServer } from '@headrace/http'
import { createMetrics, silentLogger } from '@headrace/service'
import { expect, test } from 'vitest'
import type { ApiContext } from '../context.ts'
import { apiRoutes } from './api-routes.ts'
import { workerRoutes, type WorkerRoutesOptions } from './worker-routes.ts'

const page = readFileSync(new URL('../../../../docs/api.md', import.meta.url), 'utf8')

/** `GET /v1/runs/{id}` → its scope, of the sections that say `· orchestrator`. */
function documented(): Record<string, string> {
  const sections = page.matchAll(
    /^### `(.+)`\n\n(?:`([\w:]+)` · (gateway|orchestrator|gateway, orchestrator)$)?/gm,
  )
  const routes: Record<string, string> = {}
  for (const [heading, route = '', scope, apps] of sections) {
    if (scope === undefined || apps === undefined)
      throw new Error(`docs/api.md: no scope and app below ${heading}`)
    if (apps.includes('orchestrator')) routes[route] = scope
  }
  return routes
}

/** What the orchestrator declares. HEAD follows from GET. */
async function declared(): Promise<Record<string, string>> {
  const server = createHttpServer({
    log: silentLogger,
    metrics: createMetrics(),
    name: 'orchestrator',
    authorize: createAuthorize('open'),
  })
  const routes: Record<string, string> = {}
  server.addHook('onRoute', ({ url, method, config }) => {
    const path = url.replaceAll(/:(\w+)/g, '{$1}')
    for (const name of [method].flat()) if (name !== 'HEAD') routes[`${name} ${path}`] = String(config?.scope)
  })
  // Nothing is asked of the routes: what they stand on is not looked at before the first request.
  const nothing = new Proxy({}, { get: () => ({}) })
  server.register((app, _options, done) => {
    workerRoutes(app, nothing as WorkerRoutesOptions)
    done()
  })
  apiRoutes(server, nothing as ApiContext)
  await server.ready()
  return routes
}

test('docs/api.md has every route of the orchestrator with its scope, and no other', async () => {
  expect(documented()).toEqual(await declared())
})
