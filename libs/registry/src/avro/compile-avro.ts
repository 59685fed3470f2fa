import { UnusableSchema } from '../decode/undecodable.ts'

/** An object of a schema, with all its attributes. */
export type AvroAttributes = Readonly<Record<string, unknown>>

interface Named {
  /** As a union names it: the full name of a named type, else the name of the type. */
  readonly name: string
}

/** What stands for the types of a schema: the reading of their values, or the writing. */
export interface AvroKinds<Type extends Named> {
  /** Null: there is no such primitive type. */
  primitive(name: string): Type | null
  /** A type that is known by its name before it is made: a record may hold itself. */
  named(name: string): Type
  record(type: Type, fields: readonly AvroField<Type>[]): void
  enumeration(type: Type, symbols: readonly string[]): void
  fixed(type: Type, size: number, attributes: AvroAttributes): void
  array(items: Type): Type
  map(values: Type): Type
  union(branches: readonly Type[]): Type
  /** A primitive type with attributes. One that means nothing, or does not fit, is passed over, as Avro wants it. */
  logical(type: Type, attributes: AvroAttributes): Type
}

export interface AvroField<Type> {
  readonly name: string
  readonly type: Type
  readonly attributes: AvroAttributes
}

/**
 * Compiles an Avro schema (Avro 1.12): `references` hold the named types that it uses and does not define.
 * Throws {@link UnusableSchema}.
 */
export function compileAvro<Type extends Named>(
  kinds: AvroKinds<Type>,
  schema: string,
  references: readonly string[] = [],
): Type {
  const compiler = new AvroCompiler(kinds)
  for (const reference of references) compiler.compile(parsed(reference), '')
  return compiler.compile(parsed(schema), '')
}

function parsed(text: string): unknown {
  // Registries give the schema of a primitive type also as its bare name.
  if (text.trim() === 'null') return 'null'
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** The types of one schema and of those it refers to. */
class AvroCompiler<Type extends Named> {
  readonly #kinds: AvroKinds<Type>
  readonly #named = new Map<string, Type>()

  constructor(kinds: AvroKinds<Type>) {
    this.#kinds = kinds
  }

  compile(schema: unknown, namespace: string): Type {
    if (typeof schema === 'string') return this.#byName(schema, namespace)
    if (Array.isArray(schema))
      return this.#kinds.union(schema.map((branch) => this.compile(branch, namespace)))
    if (typeof schema !== 'object' || schema === null) throw new UnusableSchema('it is no Avro schema')
    const known = schema as AvroAttributes
    switch (known['type']) {
      case 'record':
      case 'error':
        return this.#record(known, namespace)
      case 'enum':
        return this.#enum(known, namespace)
      case 'fixed':
        return this.#fixed(known, namespace)
      case 'array':
        return this.#kinds.array(this.compile(known['items'], namespace))
      case 'map':
        return this.#kinds.map(this.compile(known['values'], namespace))
      default:
        return this.#kinds.logical(this.compile(known['type'], namespace), known)
    }
  }

  #byName(name: string, namespace: string): Type {
    const found =
      this.#kinds.primitive(name) ?? this.#named.get(qualified(name, namespace)) ?? this.#named.get(name)
    if (found === undefined) throw new UnusableSchema(`it names ${name} and does not define it`)
    return found
  }

  #define({ name, namespace: own }: AvroAttributes, outer: string): { type: Type; namespace: string } {
    if (typeof name !== 'string' || name === '') throw new UnusableSchema('a type has no name')
    const full = qualified(name, typeof own === 'string' ? own : outer)
    const type = this.#kinds.named(full)
    this.#named.set(full, type)
    return { type, namespace: full.includes('.') ? full.slice(0, full.lastIndexOf('.')) : '' }
  }

  #record(schema: AvroAttributes, outer: string): Type {
    const { type, namespace } = this.#define(schema, outer)
    const { fields } = schema
    if (!Array.isArray(fields)) throw new UnusableSchema(`the record ${type.name} has no fields`)
    const compiled = (fields as AvroAttributes[]).map((attributes) => {
      const { name } = attributes
      if (typeof name !== 'string') throw new UnusableSchema(`a field of ${type.name} has no name`)
      return { name, type: this.compile(attributes['type'], namespace), attributes }
    })
    this.#kinds.record(type, compiled)
    return type
  }

  #enum(schema: AvroAttributes, outer: string): Type {
    const { type } = this.#define(schema, outer)
    const { symbols } = schema
    if (!Array.isArray(symbols)) throw new UnusableSchema(`the enum ${type.name} has no symbols`)
    this.#kinds.enumeration(type, symbols as string[])
    return type
  }

  #fixed(schema: AvroAttributes, outer: string): Type {
    const { type } = this.#define(schema, outer)
    const { size } = schema
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
      throw new UnusableSchema(`the fixed ${type.name} has no size`)
    this.#kinds.fixed(type, size, schema)
    return type
  }
}

const qualified = (name: string, namespace: string): string =>
  name.includes('.') || namespace === '' ? name : `${namespace}.${name}`
