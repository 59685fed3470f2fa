import type { KafkaEvent } from '@headrace/core'
import {
  type EventTypeSetting,
  type Json,
  ProblemError,
  type SchemaType,
  type TypeSchema,
} from '@headrace/schemas'
import { UnusableSchema } from '../decode/undecodable.ts'
import type { DataFault } from './avro-out.ts'
import { compileAvroWriter } from './avro-values.ts'
import { compileJsonCheck } from './json-values.ts'

/** What stands behind a frame for data that fits; else what does not. `text`: the data as JSON. */
export type WriteData = (data: Json, text: string) => Buffer | readonly DataFault[]

/** Throws `schema_unusable`. */
export function compileTypeSchema(type: SchemaType, schema: TypeSchema): WriteData {
  try {
    if (type === 'avro') return compileAvroWriter(JSON.stringify(schema))
    const check = compileJsonCheck(schema)
    return (data, text) => {
      const faults = check(data, text)
      return faults.length > 0 ? faults : Buffer.from(text)
    }
  } catch (error) {
    // A schema nested without end overflows the stack.
    if (!(error instanceof UnusableSchema) && !(error instanceof RangeError)) throw error
    throw new ProblemError('schema_unusable', `The schema cannot be used: ${error.message}`, { cause: error })
  }
}

interface DataToWrite {
  /** What the record holds as JSON. */
  readonly data: Json
  readonly isFramed: boolean
}

/** Data of one event type as it is checked and written. */
export class EventTypeCheck {
  readonly type: EventTypeSetting
  #write: WriteData | null = null

  constructor(type: EventTypeSetting) {
    this.type = type
  }

  /**
   * Checks the data of an encoded event; what does not fit leaves the record as it is. What fits names its schema, and is
   * framed as Confluent's clients read it where `isFramed` and a registry has the schema.
   */
  write(record: KafkaEvent<string | Buffer>, { data, isFramed }: DataToWrite): readonly DataFault[] {
    const written = this.#writer(data, String(record.value))
    if (!Buffer.isBuffer(written)) return written
    const { schema_id: id, dataschema, schema_type: schemaType } = this.type
    if (dataschema !== null) record.headers['ce_dataschema'] = dataschema
    if (!isFramed || id === null) return []
    record.value = frame(id, written)
    if (schemaType === 'avro') record.headers['content-type'] = 'application/avro'
    return []
  }

  /** Compiled with the first event: a gateway knows many types that it never sees. */
  get #writer(): WriteData {
    if (this.#write !== null) return this.#write
    try {
      this.#write = compileTypeSchema(this.type.schema_type, this.type.schema)
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      // Of a version of Headrace that could use it: nothing is said to fit that was not checked.
      const faults = [{ pointer: '', detail: error.message }]
      this.#write = () => faults
    }
    return this.#write
  }
}

function frame(id: number, payload: Buffer): Buffer {
  const value = Buffer.allocUnsafe(5 + payload.length)
  value.writeUInt8(0, 0)
  value.writeInt32BE(id, 1)
  payload.copy(value, 5)
  return value
}
