export { type GivenAnswer, undocumented } from './api/documented-answer.ts'
export { openApiDocument, type OpenApiDocument } from './api/openapi-document.ts'
export type { Operation, Operations } from './api/operation.ts'
export { operations } from './api/operations.ts'
export { decodeUtf8, parseJsonBody, parseTrustedShapeJson, takeJson } from './body.ts'
export { createPathMethods, type PathMethods } from './path-methods.ts'
export { sendProblem } from './problem-reply.ts'
export {
  cursorParameter,
  encodeCursor,
  flagParameter,
  limitParameter,
  noQuery,
  parseQuery,
  timeParameter,
} from './query.ts'
export { type Access, type Authorize, createAuthorize, decideAccess, type Scope, scopes } from './scope.ts'
export { createHttpServer, type HttpServerOptions, listenHttp } from './server.ts'
