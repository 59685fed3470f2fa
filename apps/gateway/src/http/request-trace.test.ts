import { EventEmitter } from 'node:events'
import type { TraceSpan, Tracing } from '@headrace/service'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { expect, test } from 'vitest'
import { RequestTrace } from './request-trace.ts'

type SpanEnd = NonNullable<Parameters<TraceSpan['end']>[0]>

/** How the span of a request ends whose connection closes when its answer stands so. */
function endOf(answer: { statusCode: number; headersSent: boolean; writableFinished: boolean }): SpanEnd {
  const ends: SpanEnd[] = []
  const tracing: Tracing = {
    begin: () => ({ traceparent: '', end: (end = {}) => void ends.push(end) }),
  }
  const raw = Object.assign(new EventEmitter(), answer)
  const request = { headers: {}, method: 'POST', id: 'r1' } as unknown as FastifyRequest
  const trace = new RequestTrace({ tracing, topicOf: (stream) => stream }, request, {
    raw,
  } as unknown as FastifyReply)
  expect(trace.beginBatch()).toBe('')
  raw.emit('close')
  const [end] = ends
  if (end === undefined) throw new Error('the span did not end')
  return end
}

test.each([
  ['answered', { statusCode: 201, headersSent: true, writableFinished: true }, 201, null],
  [
    'answered with a fault of ours',
    { statusCode: 503, headersSent: true, writableFinished: true },
    503,
    '503',
  ],
  [
    'left by its client before the answer',
    { statusCode: 200, headersSent: false, writableFinished: false },
    undefined,
    'client_left',
  ],
  [
    'left by its client within the answer',
    { statusCode: 200, headersSent: true, writableFinished: false },
    200,
    'client_left',
  ],
])('the span of a request that is %s says so', (_, answer, status, error) => {
  const end = endOf(answer)
  expect([end.attributes?.['http.response.status_code'], end.error]).toEqual([status, error])
})
