import { createAuthorize, createHttpServer, operations } from '@headrace/http'
import { createMetrics, silentLogger } from '@headrace/service'
import { afterAll, expect, test } from 'vitest'
import type { ApiContext } from '../context.ts'
import { apiRoutes } from './api-routes.ts'
import { workerRoutes, type WorkerRoutesOptions } from './worker-routes.ts'

/** Nothing is asked of the routes: what they stand on is not looked at before the first request. */
const nothing = new Proxy({}, { get: () => ({}) })

/** The orchestrator's routes with their scopes. HEAD follows from GET. */
async function declare() {
  const server = createHttpServer({
    log: silentLogger,
    metrics: createMetrics(),
    name: 'orchestrator',
    authorize: createAuthorize('open'),
  })
  const routes: Record<string, string> = {}
  server.addHook('onRoute', ({ url, method, config }) => {
    const path = url.replaceAll(/:(\w+)/g, '{$1}')
    for (const name of [method].flat())
      if (name !== 'HEAD' && config?.scope !== 'passed_on') routes[`${name} ${path}`] = String(config?.scope)
  })
  server.register((app, _options, done) => {
    workerRoutes(app, nothing as WorkerRoutesOptions)
    done()
  })
  apiRoutes(server, nothing as ApiContext)
  await server.ready()
  return { server, routes }
}

const { server, routes } = await declare()
afterAll(async () => await server.close())

const own = Object.entries(operations).filter(([, { apps }]) => apps.includes('orchestrator'))

test('the OpenAPI document has every route of the orchestrator with its scope, and no other', () => {
  expect(
    Object.fromEntries(own.map(([route, { scope }]) => [route, scope])),
    'describe each route as an operation in libs/http/src/api/*-operations.ts, and in docs/api.md',
  ).toEqual(routes)
})

test.each(own)(
  '%s takes the query parameters that its operation says',
  async (route, { query = { none: null }, headers = {} }) => {
    const [method = '', path = ''] = route.split(' ')
    const reply = await server.inject({
      method: method as 'GET',
      url: `${path.replaceAll(/[{}]/g, '')}?no_such_parameter=1`,
      headers: 'Headrace-Protocol' in headers ? { 'headrace-protocol': '1' } : {},
    })
    const [fault] = reply.json<{ errors?: { detail: string }[] }>().errors ?? []
    const known = /^there is no query parameter "no_such_parameter" here; known: (.+)$/.exec(
      fault?.detail ?? '',
    )?.[1]
    expect(known?.split(', ').sort()).toEqual(Object.keys({ ...query }).sort())
  },
)
