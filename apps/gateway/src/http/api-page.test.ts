import { readFileSync } from 'node:fs'
import { createAuthorize, createHttpServer } from '@headrace/http'
import { createMetrics, silentLogger } from '@headrace/service'
import { expect, test } from 'vitest'
import { type GatewayParts, gatewayRoutes } from './gateway-routes.ts'

const page = readFileSync(new URL('../../../../docs/api.md', import.meta.url), 'utf8')

/** `GET /v1/streams/{stream}` → its scope, of the sections that say `· gateway`. */
function documented(): Record<string, string> {
  const sections = page.matchAll(
    /^### `(.+)`\n\n(?:`([\w:]+)` · (gateway|orchestrator|gateway, orchestrator)$)?/gm,
  )
  const routes: Record<string, string> = {}
  for (const [heading, route = '', scope, apps] of sections) {
    if (scope === undefined || apps === undefined)
      throw new Error(`docs/api.md: no scope and app below ${heading}`)
    if (apps.includes('gateway')) routes[route] = scope
  }
  return routes
}

/** What the gateway declares. HEAD follows from GET; the pass-through takes every method. */
async function declared(): Promise<Record<string, string>> {
  const app = createHttpServer({
    log: silentLogger,
    metrics: createMetrics(),
    name: 'gateway',
    authorize: createAuthorize('open'),
  })
  const routes: Record<string, string> = {}
  app.addHook('onRoute', ({ url, method, config }) => {
    const path = url.replaceAll(/:(\w+)/g, '{$1}')
    const name = Array.isArray(method) ? '*' : method
    if (name !== 'HEAD') routes[`${name} ${path}`] = String(config?.scope)
  })
  // Nothing is asked of the routes: what they stand on is not looked at before the first request.
  const nothing = new Proxy({}, { get: () => ({}) })
  gatewayRoutes(app, nothing as GatewayParts)
  await app.ready()
  return routes
}

test('docs/api.md has every route of the gateway with its scope, and no other', async () => {
  expect(documented()).toEqual(await declared())
})
