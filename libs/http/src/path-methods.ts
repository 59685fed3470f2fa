/** The methods that each path takes: tells a 405, with its `Allow`, from a 404. */
export interface PathMethods {
  add(path: string, methods: readonly string[]): void
  /** Methods of the paths that this URL path fits; empty: there is no such path. */
  of(urlPath: string): string[]
}

interface Entry {
  segments: string[]
  methods: Set<string>
}

/** Paths as the router writes them: `/v1/runs/:id`, and a last `*` for any rest. */
export function createPathMethods(): PathMethods {
  const entries = new Map<string, Entry>()
  return {
    add(path, methods) {
      let entry = entries.get(path)
      if (entry === undefined) {
        entry = { segments: path.split('/'), methods: new Set() }
        entries.set(path, entry)
      }
      for (const method of methods) entry.methods.add(method)
    },
    of(urlPath) {
      const segments = urlPath.split('/')
      const methods = new Set<string>()
      for (const entry of entries.values()) {
        if (fits(entry.segments, segments)) for (const method of entry.methods) methods.add(method)
      }
      return [...methods].sort()
    },
  }
}

function fits(pattern: readonly string[], segments: readonly string[]): boolean {
  for (const [index, part] of pattern.entries()) {
    const segment = segments[index]
    if (part === '*') return segment !== undefined
    if (segment === undefined) return false
    if (part.startsWith(':') ? segment === '' : part !== segment) return false
  }
  return pattern.length === segments.length
}
