import { ProblemError, protocolHeader, protocolVersion } from '@headrace/schemas'
import type { FastifyRequest } from 'fastify'

/** Workers say which protocol they speak. Throws `unsupported_protocol`. */
export function requireProtocol(request: FastifyRequest): void {
  const spoken = request.headers[protocolHeader]
  if (spoken === protocolVersion) return
  const said = typeof spoken === 'string' ? JSON.stringify(spoken.slice(0, 20)) : 'none'
  throw new ProblemError(
    'unsupported_protocol',
    `This orchestrator speaks Headrace-Protocol ${protocolVersion}, the worker said ${said}: update the older of the two`,
  )
}
