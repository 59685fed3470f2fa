import type { BindingRule, Json, SchemaType } from '@headrace/schemas'
import type { StreamRecord } from './kafka-event.ts'

/** Confluent's wire format: a zero byte, the id of a schema (32 bits, the highest byte first), what the schema describes. */
const FRAME_BYTES = 5

/** What a framed value holds, read by the schema that its frame names. */
type FramedValue =
  | { readonly kind: 'data'; readonly data: Json }
  /** `unknown_schema`: the registry has none of this id. */
  | {
      readonly kind: 'unreadable'
      readonly reason: 'undecodable' | 'unknown_schema'
      readonly detail: string
    }

export interface FrameRule {
  /** Null: whichever the schema is. */
  readonly type: 'AVRO' | 'PROTOBUF' | null
  readonly unions: BindingRule['unions']
  /** Reads JSON, where the schema describes that. Throws. */
  readonly json: (text: string) => Json
}

/** Reads framed values whose schemas are known. Never throws. */
export type ReadFrame = (bytes: Uint8Array, rule: FrameRule) => FramedValue

/** The schemas that frames name. */
export interface Frames {
  /**
   * Reads values framed by these schemas, at once where all are known. Rejects with a problem that is worth another try while
   * the registry cannot be asked.
   */
  reader(ids: ReadonlySet<number>, signal?: AbortSignal): ReadFrame | Promise<ReadFrame>
}

/** Null: the bytes have no frame. */
export function frameOf(bytes: Uint8Array): { id: number; payload: Uint8Array } | null {
  if (bytes[0] !== 0 || bytes.byteLength < FRAME_BYTES) return null
  const id = new DataView(bytes.buffer, bytes.byteOffset).getInt32(1)
  // No registry gives out such ids.
  return id < 0 ? null : { id, payload: bytes.subarray(FRAME_BYTES) }
}

/** Whether records are read by a schema only, so that nothing is read without a registry. */
export const needsSchemas = ({ value_format: value, key_format: key }: BindingRule): boolean =>
  value === 'avro' || value === 'protobuf' || key === 'avro'

/** Whether records of a stream are read by their frames, so that framed ones may be written; `rule` null: a stream of our own. */
export const takesFrames = (rule: BindingRule | null, schemaType: SchemaType): boolean =>
  rule === null || rule.value_format === 'auto' || (rule.value_format === 'avro' && schemaType === 'avro')

/** Adds the ids of the schemas by which this record is read; `rule` null: of a stream of our own. */
export function addSchemaIds(
  rule: BindingRule | null,
  { key, value }: Pick<StreamRecord, 'key' | 'value'>,
  ids: Set<number>,
): void {
  const format = rule?.value_format ?? 'auto'
  if (value?.[0] === 0 && (format === 'auto' || format === 'avro' || format === 'protobuf')) {
    const frame = frameOf(value)
    if (frame !== null) ids.add(frame.id)
  }
  if (key !== null && rule?.key_format === 'avro') {
    const frame = frameOf(key)
    if (frame !== null) ids.add(frame.id)
  }
}
