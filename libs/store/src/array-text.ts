/**
 * Arrays as Postgres reads them. The client's own encoding escapes each element by two replacements and was a seventh
 * of the orchestrator's time; most of what is sent needs no quotes. Whatever a value is, it stays one element: a bad one
 * is for Postgres to refuse, alone (SQLSTATE 22), and never moves its neighbours.
 */
const plainUuid = /^[0-9a-fA-F-]+$/

export const uuidArray = (values: readonly string[]): string =>
  `{${values.map((value) => (plainUuid.test(value) ? value : quoted(value))).join()}}`

/** Also of floats. What is no number is written as it is, for Postgres to refuse. */
export const numberArray = (values: readonly (number | null)[]): string =>
  `{${values.map((value) => (value === null ? 'null' : String(value))).join()}}`

export const booleanArray = (values: readonly boolean[]): string => `{${values.join()}}`

/** Texts that are often the same one after the other: kinds, workers, queues. */
export function textArray(values: readonly (string | null)[]): string {
  let last: string | null = null
  let lastQuoted = 'null'
  const items = values.map((value) => {
    if (value !== last) {
      last = value
      lastQuoted = value === null ? 'null' : quoted(value)
    }
    return lastQuoted
  })
  return `{${items.join()}}`
}

const special = /["\\]/
const eachSpecial = /["\\]/g

const quoted = (text: string): string =>
  special.test(text) ? `"${text.replace(eachSpecial, '\\$&')}"` : `"${text}"`
