import { describe, expect, it } from 'vitest'
import { linkSettings, parseAddress } from './broker-config.ts'

const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

describe('the address of a broker', () => {
  it.each([
    ['localhost:9092', { host: 'localhost', port: 9092 }],
    ['kafka-1.example', { host: 'kafka-1.example', port: 9092 }],
    ['10.0.0.1:19092', { host: '10.0.0.1', port: 19092 }],
    ['[::1]:9093', { host: '::1', port: 9093 }],
  ])('%s is read', (text, address) => {
    expect(parseAddress(text)).toEqual(address)
  })

  it.each(['', 'a:b', 'host:0', 'host:70000', '::1:9092', 'http://host:1'])(
    '%j is refused by name',
    (text) => {
      expect(() => parseAddress(text)).toThrow(`"${text}"`)
    },
  )

  it('must be given', () => {
    expect(() => linkSettings({ brokers: [], clientId: 'c', logger })).toThrow('at least one address')
  })
})
