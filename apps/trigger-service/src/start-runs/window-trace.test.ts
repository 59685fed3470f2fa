import { SPAN_LINKS_MAX, type Tracing } from '@headrace/service'
import { expect, test } from 'vitest'
import type { WindowEntry } from './flush-entry.ts'
import { createTraceWindow } from './window-trace.ts'

const contextOf = (n: number, flags = '01'): string =>
  `00-${n.toString(16).padStart(32, 'a')}-${n.toString(16).padStart(16, 'b')}-${flags}`

/** The span of a window of events with these contexts. */
function begun(...contexts: (string | null)[]) {
  const spans: { name: string; span: Parameters<Tracing['begin']>[1] }[] = []
  const tracing: Tracing = {
    begin: (name, span) => {
      spans.push({ name, span })
      return { traceparent: 'made', end: () => undefined }
    },
  }
  const follower = {
    lane: { stream: 'orders', partition: 3 },
    trigger: { workflow: 'bill' },
    cursorOf: { id: 'bill' },
  }
  const events = contexts.map((traceparent, offset) => ({ traceparent, offset }))
  const entry = { follower, closed: { events } } as unknown as WindowEntry
  const { traceparent } = createTraceWindow({ tracing, topicOf: (stream) => `t.${stream}` })(entry, 'r')
  return { traceparent, name: spans[0]?.name, ...spans[0]?.span }
}

test('a window of one event goes on with its trace, also where that is not sampled', () => {
  expect(begun(contextOf(1))).toMatchObject({
    name: 'process t.orders',
    parent: { traceparent: contextOf(1) },
    links: [],
  })
  expect(begun(contextOf(1, '00'))).toMatchObject({ parent: { traceparent: contextOf(1, '00') }, links: [] })
})

test('a window of several events begins a trace that links to those of its events, each once', () => {
  const { parent, links, traceparent } = begun(contextOf(1), null, contextOf(2, '00'), contextOf(1))
  expect({ parent, links, traceparent }).toEqual({
    parent: null,
    links: [contextOf(1), contextOf(2, '00')],
    traceparent: 'made',
  })
})

test('a window whose events are all of traces that are not sampled has no span, and its run is not sampled', () => {
  const { name, traceparent } = begun(contextOf(1, '00'), contextOf(2, '00'))
  expect(name).toBe(undefined)
  expect(traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
})

test('links beyond the limit are counted', () => {
  const many = Array.from({ length: SPAN_LINKS_MAX + 5 }, (_, n) => contextOf(n + 1))
  expect(begun(...many).attributes).toMatchObject({ 'headrace.window.links_dropped': 5 })
})
