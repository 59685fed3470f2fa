import { expect, test } from 'vitest'
import { registrySettings } from './registry-settings.ts'

const P = 'HEADRACE_SCHEMA_REGISTRY_'
const wrong = (env: Record<string, string>): string[] =>
  registrySettings(
    Object.fromEntries(Object.entries(env).map(([name, value]) => [P + name, value])),
  ).problems.map(({ variable }) => variable.slice(P.length))
const url = 'https://registry:8443'

test('without a URL there is no registry, and whatever belongs to one is a mistake', () => {
  expect(registrySettings({})).toEqual({ access: null, problems: [] })
  expect(wrong({ TOKEN: 't' })).toEqual(['TOKEN'])
})

test('what says two things at once, or half of one, is refused by name', () => {
  expect(wrong({ URL: 'registry:8443' })).toEqual(['URL'])
  expect(wrong({ URL: url, USERNAME: 'u' })).toEqual(['USERNAME'])
  expect(wrong({ URL: url, PASSWORD: 'p' })).toEqual(['USERNAME'])
  expect(wrong({ URL: url, USERNAME: 'u', PASSWORD: 'p', PASSWORD_FILE: '/p' })).toEqual(['PASSWORD'])
  expect(wrong({ URL: url, USERNAME: 'u', PASSWORD: 'p', TOKEN: 't' })).toEqual(['TOKEN'])
  expect(wrong({ URL: 'https://u:p@registry', TOKEN: 't' })).toEqual(['URL'])
  expect(wrong({ URL: url, TLS_CERT_FILE: '/c' })).toEqual(['TLS_CERT_FILE'])
  expect(wrong({ URL: 'http://registry', TLS_CA_FILE: '/ca' })).toEqual(['TLS_CA_FILE'])
  expect(wrong({ URL: url, USERNAME: 'u', PASSWORD_FILE: '/p', TLS_CA_FILE: '/ca' })).toEqual([])
})
