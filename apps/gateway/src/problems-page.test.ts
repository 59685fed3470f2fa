import { readFileSync } from 'node:fs'
import { problems } from '@headrace/schemas'
import { expect, test } from 'vitest'

const page = readFileSync(new URL('../../../docs/problems.md', import.meta.url), 'utf8')

/** What the page says of each code: status, whether to try again, title, and that it says what to do. */
const documented = Object.fromEntries(
  page
    .split(/^### /m)
    .slice(1)
    .map((section) => {
      const match =
        /^`(\w+)`\n\n(\d{3}) · (retryable|not retryable) · (.+)\n\n.+\n\n\*\*What to do:\*\* \S/.exec(section)
      if (match === null)
        throw new Error(`docs/problems.md: a section is not of the usual form: ${section.slice(0, 80)}`)
      const [, code = '', status, retryable, title] = match
      return [code, { status: Number(status), retryable: retryable === 'retryable', title }]
    }),
)

test('docs/problems.md has every code of the registry as it is, and no other', () => {
  expect(documented).toEqual(problems)
})
