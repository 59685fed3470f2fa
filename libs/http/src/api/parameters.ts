import { limits } from '@headrace/schemas'
import { z } from 'zod'

/** Parameters as they are written in a URL. */
export const timeText = z.iso.datetime({ offset: true })
export const wholeNumber = z.int().min(0)
export const page = {
  limit: z.int().min(1).max(limits.listLimitMax).default(limits.listLimitDefault),
  cursor: z.string().optional().describe('`next_cursor` of the page before'),
}
