/** A function of a text whose results are kept, those of the texts used last. */
export function keptLatest<Result>(
  make: (text: string) => Result,
  keptMax: number,
): (text: string) => Result {
  const kept = new Map<string, Result>()
  return (text) => {
    const result = kept.get(text) ?? make(text)
    // Set again, a text is the latest of the map's order.
    kept.delete(text)
    kept.set(text, result)
    if (kept.size > keptMax) {
      const [oldest] = kept.keys()
      if (oldest !== undefined) kept.delete(oldest)
    }
    return result
  }
}
