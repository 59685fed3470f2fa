import { limits, ProblemError } from '@headrace/schemas'

/** One line of a body, by its number from 1. */
export type BodyLine =
  | { line: number; bytes: Buffer }
  /** Longer than a line may be; what is left of it was passed over. */
  | { line: number; bytes: null }

const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d

export interface ReadLines {
  lineBytesMax?: number
  limitBytes?: number
}

/**
 * The lines that are not empty, in groups: as they come, so many as arrived together. Nothing more is read before a group
 * is done with; at most one line and one chunk are held. Throws `body_too_large` once all lines before were handed out,
 * and `invalid_json` where the body ends before it is whole.
 */
export async function* readLines(
  body: AsyncIterable<Buffer>,
  { lineBytesMax = limits.lineBytesMax, limitBytes = limits.requestBytesMax }: ReadLines = {},
): AsyncGenerator<BodyLine[]> {
  let line = 1
  let held: Buffer[] = []
  let heldBytes = 0
  let bytes = 0
  const take = (part: Buffer): void => {
    heldBytes += part.length
    if (heldBytes > lineBytesMax) held = []
    else held.push(part)
  }
  const finish = (): BodyLine[] => {
    const whole = held.length === 1 && held[0] ? held[0] : Buffer.concat(held)
    const found: BodyLine = { line, bytes: heldBytes > lineBytesMax ? null : whole }
    const isEmpty = heldBytes === 0 || (heldBytes === 1 && whole[0] === CARRIAGE_RETURN)
    line += 1
    held = []
    heldBytes = 0
    return isEmpty ? [] : [found]
  }
  for await (const chunk of body) {
    bytes += chunk.length
    const group: BodyLine[] = []
    let from = 0
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      take(chunk.subarray(from, at))
      group.push(...finish())
      from = at + 1
    }
    if (from < chunk.length) take(chunk.subarray(from))
    if (group.length > 0) yield group
    if (bytes > limitBytes)
      throw new ProblemError(
        'body_too_large',
        `The body is larger than ${limitBytes} bytes; send the other lines in another request`,
      )
  }
  const last = finish()
  if (last.length > 0) yield last
}
