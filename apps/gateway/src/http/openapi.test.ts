import { createAuthorize, createHttpServer, openApiDocument, operations } from '@headrace/http'
import { createMetrics, silentLogger } from '@headrace/service'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import { afterAll, describe, expect, test } from 'vitest'
import { apiDocsRoutes } from './api-docs-routes.ts'

const document = openApiDocument(operations, '1.2.3')

test('the document is OpenAPI 3.1 as a linter sees it, every reference resolved', async () => {
  const config = await createConfig({
    extends: ['recommended-strict'],
    rules: {
      // Paths of one word beside paths with a parameter are told apart by the router, words first.
      'no-ambiguous-paths': 'off',
    },
  })
  const found = await lintFromString({ source: JSON.stringify(document), config })
  expect(
    found.map(({ ruleId, message, location }) => `${ruleId} ${location[0]?.pointer ?? ''}: ${message}`),
  ).toEqual([])
}, 60_000)

test('every operation says what it answers where something is wrong, by the codes of its problems', () => {
  for (const [route, { operationId, responses }] of Object.entries(document.paths).flatMap(
    ([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, operation] as const),
  )) {
    expect([route, operationId, Object.keys(responses)]).toEqual([
      route,
      operationId,
      expect.arrayContaining(['400', '422', '500', '503']),
    ])
  }
  expect(document.paths['/v1/runs/{id}/cancel']?.['post']?.responses['409']).toEqual({
    description: 'The run has ended',
    content: {
      'application/problem+json': {
        schema: {
          allOf: [
            { $ref: '#/components/schemas/Problem' },
            { type: 'object', properties: { code: { enum: ['run_ended'] } } },
          ],
        },
      },
    },
  })
})

describe('the gateway', () => {
  const server = createHttpServer({
    log: silentLogger,
    metrics: createMetrics(),
    name: 'gateway',
    authorize: createAuthorize('keys'),
  })
  server.register(apiDocsRoutes({ version: '1.2.3' }))
  afterAll(async () => await server.close())
  const get = async (url: string) => await server.inject({ method: 'GET', url })

  test('serves the document to everybody', async () => {
    expect((await get('/openapi.json')).json()).toEqual(document)
  })

  test('serves a page that shows it, and all that the page loads', async () => {
    const { body, headers, statusCode } = await get('/docs')
    expect([statusCode, headers['content-type']]).toEqual([200, 'text/html; charset=utf-8'])
    const loaded = [...body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url = '']) => url)
    expect(loaded).toHaveLength(3)
    for (const url of loaded) {
      const file = await get(url)
      expect([url, file.statusCode, file.headers['content-type']]).toEqual([
        url,
        200,
        expect.stringMatching(url.endsWith('.css') ? /^text\/css/ : /^text\/javascript/),
      ])
      expect(file.body.length).toBeGreaterThan(50)
    }
    expect((await get('/docs/package.json')).statusCode).toBe(404)
    expect((await get('/docs/__proto__')).statusCode).toBe(404)
  })
})
