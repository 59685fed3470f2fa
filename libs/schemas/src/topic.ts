import { limits } from './limits.ts'

/**
 * Topics and patterns.
 *
 * A topic is 1 to 8 segments joined by `/`, at most 200 characters: `orders/created`. The first segment
 * names the stream and so becomes part of a Kafka topic's name: `[A-Za-z0-9_-]+`. Later segments may also hold
 * `. : @ ~ + = %`, so that ids of other systems fit without escaping.
 *
 * A pattern is a topic in which `*` or `{name}` stands for one segment and a last `**` for one or more. Its
 * first segment is literal: a trigger reads one stream.
 */
const firstSegment = /^[A-Za-z0-9_-]+$/
const laterSegment = /^[A-Za-z0-9_.:@~+=%-]+$/
const parameter = /^\{[A-Za-z_][A-Za-z0-9_]*\}$/

/** What is wrong with a topic, as a sentence that says what to do; null when it is well-formed. */
export function topicFault(topic: string): string | null {
  return segmentsFault(topic, 'topic', (segment) => laterSegment.test(segment))
}

/** What is wrong with a pattern; null when it is well-formed. */
export function patternFault(pattern: string): string | null {
  const segments = pattern.split('/')
  const fault = segmentsFault(
    pattern,
    'pattern',
    (segment, isLast) =>
      laterSegment.test(segment) ||
      segment === '*' ||
      parameter.test(segment) ||
      (segment === '**' && isLast),
  )
  if (fault) return fault
  const names = segments.filter((segment) => parameter.test(segment))
  if (new Set(names).size !== names.length) return 'a pattern names each {parameter} once'
  return null
}

function segmentsFault(
  text: string,
  noun: 'topic' | 'pattern',
  laterIsFine: (segment: string, isLast: boolean) => boolean,
): string | null {
  if (text.length === 0) return `a ${noun} must not be empty; write for example orders/created`
  if (text.length > limits.topicCharactersMax)
    return `a ${noun} has at most ${limits.topicCharactersMax} characters, this one ${text.length}`
  const segments = text.split('/')
  if (segments.length > limits.topicSegmentsMax)
    return `a ${noun} has at most ${limits.topicSegmentsMax} segments, this one ${segments.length}`
  for (const [index, segment] of segments.entries()) {
    if (segment === '') return `a ${noun} has no empty segment: no / at its ends, no //`
    const fine =
      index === 0 ? firstSegment.test(segment) : laterIsFine(segment, index === segments.length - 1)
    if (!fine) return segmentFault(segment, index, noun)
  }
  return null
}

function segmentFault(segment: string, index: number, noun: string): string {
  const shown = JSON.stringify(segment.slice(0, 40))
  if (index === 0)
    return `the first segment of a ${noun} names its stream and may hold letters, digits, _ and - only, not ${shown}`
  if (segment === '**') return '** may stand only at the end of a pattern'
  return `segment ${index + 1} ${shown} of the ${noun} holds a character other than letters, digits and _ - . : @ ~ + = %`
}

/** The stream of a topic or pattern: its first segment. */
export function streamOf(topicOrPattern: string): string {
  const slash = topicOrPattern.indexOf('/')
  return slash === -1 ? topicOrPattern : topicOrPattern.slice(0, slash)
}
