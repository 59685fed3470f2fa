import protobuf from 'protobufjs'
import { UnusableSchema } from './undecodable.ts'

/** A file that another imports, by the path by which it does. */
export interface ProtobufReference {
  readonly name: string
  readonly schema: string
}

/** The messages of one .proto file, as a record names them: by their places in it. */
export interface ProtobufFile {
  readonly root: protobuf.Root
  /** The message at such a place, those within it following; null where there is none. */
  messageAt(indexes: readonly number[]): protobuf.Type | null
}

/** Throws {@link UnusableSchema}. Imports that nothing of it uses need not be there. */
export function parseProtobuf(schema: string, references: readonly ProtobufReference[]): ProtobufFile {
  try {
    const root = new protobuf.Root()
    const imported = new Set<string>()
    const texts = new Map(references.map(({ name, schema: text }) => [name, text]))
    const load = (path: string): void => {
      if (imported.has(path)) return
      imported.add(path)
      const text = texts.get(path)
      const common = protobuf.common.get(path)
      if (text !== undefined) parseInto(text, root).forEach(load)
      else if (common?.nested !== undefined) root.addJSON(common.nested)
    }
    parseInto(schema, root).forEach(load)
    root.resolveAll()
    const names = namesIn(schema)
    return { root, messageAt: (indexes) => messageAt(root, names, indexes) }
  } catch (error) {
    throw new UnusableSchema(`it is no Protobuf schema that can be read: ${textOf(error)}`, { cause: error })
  }
}

const OPTIONS = { keepCase: true }

/** The paths that it imports. */
function parseInto(text: string, root: protobuf.Root): string[] {
  const { imports, weakImports } = protobuf.parse(text, root, OPTIONS)
  return [...(imports ?? []), ...(weakImports ?? [])]
}

interface FileNames {
  readonly package: string
  readonly messages: readonly string[]
}

/** Parsed by itself: in the common root its package may hold messages of other files too. */
function namesIn(schema: string): FileNames {
  const { package: of, root } = protobuf.parse(schema, new protobuf.Root(), OPTIONS)
  const space = of === undefined ? root : root.lookup(of)
  const nested = space instanceof protobuf.Namespace ? space.nestedArray : []
  return { package: of ?? '', messages: nested.filter(isMessage).map(({ name }) => name) }
}

const isMessage = (object: protobuf.ReflectionObject): object is protobuf.Type =>
  object instanceof protobuf.Type

function messageAt(
  root: protobuf.Root,
  { package: of, messages }: FileNames,
  indexes: readonly number[],
): protobuf.Type | null {
  const [first, ...within] = indexes
  const name = messages[first ?? 0]
  if (name === undefined) return null
  let at: protobuf.Type | undefined = root.lookupType(of === '' ? name : `${of}.${name}`)
  for (const index of within) at = at?.nestedArray.filter(isMessage)[index]
  return at ?? null
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
