/** One server-sent event: a block of fields. */
export interface SentEvent {
  /** Null where the block names none. */
  id: string | null
  event: string | null
  data: string
}

/**
 * The blocks of a `text/event-stream` as the gateway writes it (lines end with `\n`), until it ends. `heard` is called with
 * every piece, also with comments, which are no blocks of their own.
 */
export async function* sentEvents(
  body: ReadableStream<Uint8Array>,
  heard: () => void,
): AsyncGenerator<SentEvent, void, undefined> {
  const reader = body.getReader()
  const utf8 = new TextDecoder()
  let text = ''
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    heard()
    text += utf8.decode(piece.value, { stream: true })
    const blocks = text.split('\n\n')
    // What is cut off in its midst is not told: its id was not taken for seen either.
    text = blocks.pop() ?? ''
    for (const block of blocks) yield sentEventOf(block)
  }
}

function sentEventOf(block: string): SentEvent {
  const sent: SentEvent = { id: null, event: null, data: '' }
  for (const line of block.split('\n')) {
    const colon = line.indexOf(': ')
    if (colon < 1) continue
    const [field, value] = [line.slice(0, colon), line.slice(colon + 2)]
    if (field === 'id' || field === 'event' || field === 'data') sent[field] = value
  }
  return sent
}
