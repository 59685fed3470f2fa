export { type GivenAnswer, undocumented } from './api/documented-answer.ts'
export { openApiDocument, type OpenApiDocument } from './api/openapi-document.ts'
export type { Operation, Operations } from './api/operation.ts'
export { operations } from './api/operations.ts'
export { decodeUtf8, parseJsonBody, parseTrustedShapeJson, takeJson } from './body.ts'
export {
  type Caller,
  OPEN_KEY_ID,
  openCaller,
  requireQueue,
  requireReadable,
  requireScope,
  requireStream,
} from './keys/caller.ts'
export { KeyRing } from './keys/key-ring.ts'
export { keyText, newKeyId, newSecret, parseKeyText, secretHash } from './keys/key-text.ts'
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
export { type Access, accessOf, type Authorize, createAuthorize, type Scope, scopes } from './scope.ts'
export { createHttpServer, type HttpServerOptions, listenHttp } from './server.ts'
