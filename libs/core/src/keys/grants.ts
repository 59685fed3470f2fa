import { type KeyScope, parseKeyScope } from '@headrace/schemas'
import { compilePattern } from '../match/pattern.ts'
import { covers } from './covers.ts'

/** What a key's scopes allow. `admin` allows everything. */
export interface Grants {
  /** Whether it has the scope at all, for whatever topics or queues. */
  has(scope: KeyScope): boolean
  /** Whether it may publish or read events of this topic. */
  topic(scope: 'events:write' | 'events:read', topic: string): boolean
  /** Whether it may read every topic that this pattern can match. */
  readsAllOf(pattern: string): boolean
  /** Whether it may read any topic of this stream. */
  readsOf(stream: string): boolean
  /** Whether its workers may take runs of this queue. */
  queue(queue: string): boolean
}

/** Scopes that are none allow nothing: a later version may have written them. */
export function compileGrants(scopes: readonly string[]): Grants {
  const granted = scopes.flatMap((text) => parseKeyScope(text) ?? [])
  const isAdmin = granted.some(({ scope }) => scope === 'admin')
  const withins = (scope: KeyScope): (string | null)[] =>
    isAdmin ? [null] : granted.filter((each) => each.scope === scope).map(({ within }) => within)
  const matchers = {
    'events:write': withins('events:write').map(matcherOf),
    'events:read': withins('events:read').map(matcherOf),
  }
  const readable = withins('events:read')
  const queues = withins('worker')
  return {
    has: (scope) => withins(scope).length > 0,
    topic: (scope, topic) => matchers[scope].some((matches) => matches(topic)),
    readsAllOf: (pattern) => readable.some((within) => within === null || covers(within, pattern)),
    readsOf: (stream) =>
      readable.some((within) => within === null || within === stream || within.startsWith(`${stream}/`)),
    queue: (queue) => queues.some((within) => within === null || within === queue),
  }
}

const matcherOf = (within: string | null): ((topic: string) => boolean) =>
  within === null ? () => true : compilePattern(within)
