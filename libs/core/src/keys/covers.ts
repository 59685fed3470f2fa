/** Whether every topic that `inner` can match is matched by `outer`. Both are patterns; a topic is one without wildcards. */
export function covers(outer: string, inner: string): boolean {
  const wider = outer.split('/')
  const narrower = inner.split('/')
  for (const [index, segment] of wider.entries()) {
    const other = narrower[index]
    if (other === undefined) return false
    if (segment === '**') return true
    // As long as it likes: no single segment covers it.
    if (other === '**') return false
    if (!isOne(segment) && segment !== other) return false
  }
  return wider.length === narrower.length
}

/** Stands for any one segment. */
const isOne = (segment: string): boolean => segment === '*' || segment.startsWith('{')
