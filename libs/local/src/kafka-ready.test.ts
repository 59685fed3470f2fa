import { expect, test } from 'vitest'
import { brokerCount, metadataRequest } from './kafka-ready.ts'

test('the request is a Metadata request, version 1, for no topics', () => {
  // size, api key 3, version 1, correlation id, no client id, an empty list
  expect(metadataRequest().toString('hex')).toBe('0000000e0003000100000001ffff00000000')
})

test('the answer says how many brokers there are', () => {
  expect(brokerCount(Buffer.from('0000000100000003', 'hex'))).toBe(3)
})

test('what is no answer to our request counts no broker', () => {
  expect(brokerCount(Buffer.from('0000000200000003', 'hex'))).toBe(0)
  expect(brokerCount(Buffer.from('00', 'hex'))).toBe(0)
})
