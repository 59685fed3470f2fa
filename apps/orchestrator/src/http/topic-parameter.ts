import { topicFault } from '@headrace/schemas'
import { z } from 'zod'

/** A topic, without wildcards, in a query. */
export const topicParameter = z.string().superRefine((text, context) => {
  const fault = topicFault(text)
  if (fault !== null) context.addIssue({ code: 'custom', message: fault })
})
