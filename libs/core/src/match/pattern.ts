/**
 * Does a topic match a pattern? `*` and `{name}` stand for one segment, a last `**` for one or more.
 * A pattern is compiled once and matched for every event of its stream, so the compiled form is a plain closure.
 */
export function compilePattern(pattern: string): (topic: string) => boolean {
  const segments = pattern.split('/')
  if (!segments.some(isWildcard)) return (topic) => topic === pattern
  const openEnded = segments.at(-1) === '**'
  const fixed = openEnded ? segments.slice(0, -1) : segments
  return (topic) => {
    const parts = topic.split('/')
    if (openEnded ? parts.length <= fixed.length : parts.length !== fixed.length) return false
    return fixed.every((segment, index) => isWildcard(segment) || segment === parts[index])
  }
}

const isWildcard = (segment: string): boolean =>
  segment === '*' || segment === '**' || segment.startsWith('{')
