import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { noQuery, openApiDocument, operations, parseQuery } from '@headrace/http'
import { ProblemError } from '@headrace/schemas'
import type { FastifyInstance } from 'fastify'

const scope = 'public'
/** Swagger UI talks to the gateway that it came from, and loads nothing from elsewhere. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Headrace: HTTP API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`
const start = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#api', deepLinking: true, validatorUrl: null })
`

const packed = (url: string) => async (): Promise<Buffer> => await readFile(fileURLToPath(url))

const files: Record<string, { type: string; read: () => Promise<Buffer | string> }> = {
  'swagger-ui.css': {
    type: 'text/css; charset=utf-8',
    read: packed(import.meta.resolve('swagger-ui-dist/swagger-ui.css')),
  },
  'swagger-ui-bundle.js': {
    type: 'text/javascript; charset=utf-8',
    read: packed(import.meta.resolve('swagger-ui-dist/swagger-ui-bundle.js')),
  },
  'start.js': { type: 'text/javascript; charset=utf-8', read: () => Promise.resolve(start) },
}

/** `GET /openapi.json`, and `GET /docs`, which shows it: Swagger UI out of the gateway's own packages. */
export function apiDocsRoutes({ version }: { version: string }) {
  return async (app: FastifyInstance): Promise<void> => {
    const document = JSON.stringify(openApiDocument(operations, version))
    app.route({
      method: 'GET',
      url: '/openapi.json',
      config: { scope },
      async handler(request, reply) {
        parseQuery(noQuery, request.query)
        return await reply.type('application/json; charset=utf-8').send(document)
      },
    })
    app.route({
      method: 'GET',
      url: '/docs',
      config: { scope },
      async handler(request, reply) {
        parseQuery(noQuery, request.query)
        return await reply
          .type('text/html; charset=utf-8')
          .header('content-security-policy', POLICY)
          .send(page)
      },
    })
    app.route<{ Params: { file: string } }>({
      method: 'GET',
      url: '/docs/:file',
      config: { scope },
      async handler(request, reply) {
        parseQuery(noQuery, request.query)
        const { file: name } = request.params
        const file = Object.hasOwn(files, name) ? files[name] : undefined
        if (file === undefined)
          throw new ProblemError('not_found', `There is no /docs/${name.slice(0, 100)} here`)
        // It changes with the gateway's version, which no URL says.
        return await reply
          .type(file.type)
          .header('cache-control', 'max-age=300')
          .send(await file.read())
      },
    })
  }
}
