import { cursorParameter, encodeCursor, limitParameter } from '@headrace/http'
import type { WireList } from '@headrace/schemas'
import { z } from 'zod'

/** `?limit=&cursor=` of a list that is short enough to be read whole and cut here. */
export const pageParameters = {
  limit: limitParameter,
  cursor: cursorParameter(z.strictObject({ after: z.string().max(1_000) })),
}

/** One page, in the order of `keyOf`, which must be unique. */
export function pageOf<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  { limit, cursor }: { limit: number; cursor?: { after: string } | undefined },
): { items: Item[]; nextCursor: string | null } {
  const keyed = items.map((item) => ({ item, key: keyOf(item) }))
  const rest = keyed
    .filter(({ key }) => cursor === undefined || key > cursor.after)
    .sort((a, b) => (a.key < b.key ? -1 : 1))
  const shown = rest.slice(0, limit)
  const last = shown.at(-1)
  return {
    items: shown.map(({ item }) => item),
    nextCursor: rest.length > limit && last !== undefined ? encodeCursor({ after: last.key }) : null,
  }
}

export const wireList = <Item, Wire>(
  page: { items: Item[]; nextCursor: string | null },
  wire: (item: Item) => Wire,
): WireList<Wire> => ({ data: page.items.map(wire), next_cursor: page.nextCursor })
