import { streamOf } from '@headrace/schemas'
import { compilePattern } from './pattern.ts'

/**
 * Which event type a topic's events have. Of patterns that match, the most specific: read from the left, a literal segment
 * comes before one that stands for any. No two of one shape match one topic, so there is always a single answer.
 */
export function indexEventTypes<Type extends { readonly pattern: string }>(
  types: Iterable<Type>,
): (topic: string) => Type | null {
  const exact = new Map<string, Type>()
  const wide = new Map<string, { type: Type; matches: (topic: string) => boolean; shape: string }[]>()
  for (const type of types) {
    const shape = shapeOf(type.pattern)
    if (!shape.includes('*')) {
      exact.set(type.pattern, type)
      continue
    }
    const stream = streamOf(type.pattern)
    const ofStream = wide.get(stream) ?? []
    ofStream.push({ type, matches: compilePattern(type.pattern), shape })
    wide.set(stream, ofStream)
  }
  for (const ofStream of wide.values()) ofStream.sort((a, b) => (a.shape < b.shape ? -1 : 1))
  return (topic) => {
    const found = exact.get(topic)
    if (found !== undefined) return found
    if (wide.size === 0) return null
    return wide.get(streamOf(topic))?.find(({ matches }) => matches(topic))?.type ?? null
  }
}

/** `approvals/{id}/done` is `!*!`; in the order of characters `!` comes before `*`. */
const shapeOf = (pattern: string): string =>
  pattern
    .split('/')
    .map((segment) => (segment === '*' || segment.startsWith('{') ? '*' : '!'))
    .join('')
