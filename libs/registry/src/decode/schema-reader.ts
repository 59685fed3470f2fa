import type { Json } from '@headrace/schemas'
import { compileAvroReader } from './avro.ts'
import { Payload, type UnionStyle } from './payload.ts'
import { compileProtobuf } from './protobuf.ts'
import type { ProtobufReference } from './protobuf-schema.ts'
import { Undecodable, UnusableSchema } from './undecodable.ts'

/** A schema with all that it refers to, whoever of them refers to it, those that are referred to first. */
export interface WholeSchema {
  readonly id: number
  readonly type: 'AVRO' | 'JSON' | 'PROTOBUF'
  readonly schema: string
  readonly references: readonly ProtobufReference[]
}

type DecodedPayload =
  { readonly kind: 'data'; readonly data: Json } | { readonly kind: 'undecodable'; readonly detail: string }

/** Reads what stands behind a frame that names its schema. Never throws. */
export interface SchemaReader {
  readonly type: WholeSchema['type']
  read(payload: Uint8Array, unions: UnionStyle, json: (text: string) => Json): DecodedPayload
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Compiled once a schema; one that cannot be compiled makes its records undecodable. */
export function compileSchema(whole: WholeSchema): SchemaReader {
  const { id, type } = whole
  if (type === 'JSON') return { type, read: (payload, _unions, json) => readJson(payload, json) }
  const compiled = compiledOf(whole)
  if (compiled instanceof UnusableSchema) {
    const detail = `the schema ${id} cannot be used: ${compiled.message}`
    return { type, read: () => ({ kind: 'undecodable', detail }) }
  }
  return {
    type,
    read: (payload, unions) => {
      try {
        return { kind: 'data', data: compiled(new Payload(payload, unions)) }
      } catch (error) {
        return { kind: 'undecodable', detail: `the value does not fit its schema ${id}: ${faultOf(error)}` }
      }
    },
  }
}

function compiledOf({
  type,
  schema,
  references,
}: WholeSchema): ((payload: Payload) => Json) | UnusableSchema {
  try {
    if (type === 'PROTOBUF') return compileProtobuf(schema, references)
    return compileAvroReader(
      schema,
      references.map((reference) => reference.schema),
    )
  } catch (error) {
    if (error instanceof UnusableSchema) return error
    // A schema nested without end overflows the stack.
    return new UnusableSchema(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

function faultOf(error: unknown): string {
  if (error instanceof Undecodable || error instanceof UnusableSchema) return error.message
  // Whatever a record does to its reader, it is set aside alone; our own text may quote what is in it.
  return error instanceof Error ? error.name : 'unexpected'
}

function readJson(payload: Uint8Array, json: (text: string) => Json): DecodedPayload {
  try {
    return { kind: 'data', data: json(utf8.decode(payload)) }
  } catch {
    return { kind: 'undecodable', detail: 'the value behind its frame is no JSON' }
  }
}
