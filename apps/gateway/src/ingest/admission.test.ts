import { ProblemError } from '@headrace/schemas'
import { expect, test } from 'vitest'
import { createAdmission } from './admission.ts'

const overloaded = (work: () => unknown): boolean => {
  try {
    work()
    return false
  } catch (error) {
    if (error instanceof ProblemError && error.code === 'overloaded') return true
    throw error
  }
}

test('what is beyond the bytes in flight is refused, and fits again once something was answered', () => {
  const admission = createAdmission({ bytesMax: 100, eventsMax: 10 })
  const first = admission.admit(60)
  expect(overloaded(() => admission.admit(41))).toBe(true)
  const second = admission.admit(40)
  expect(overloaded(() => second.raiseBytes(41))).toBe(true)
  first.release()
  second.raiseBytes(41)
  expect(admission.inFlight).toEqual({ bytes: 41, events: 0, requests: 1 })
})

test('what is beyond the events in flight is refused', () => {
  const admission = createAdmission({ bytesMax: 100, eventsMax: 10 })
  const first = admission.admit(1)
  first.addEvents(8)
  const second = admission.admit(1)
  expect(overloaded(() => second.addEvents(3))).toBe(true)
  second.addEvents(2)
  expect(admission.inFlight.events).toBe(10)
})

test('the only request in flight is never refused, however low the limits', () => {
  const admission = createAdmission({ bytesMax: 1, eventsMax: 1 })
  const only = admission.admit(1_000)
  only.raiseBytes(2_000)
  only.addEvents(50)
  expect(overloaded(() => admission.admit(0))).toBe(true)
})

test('a ticket is released once and takes nothing afterwards', () => {
  const admission = createAdmission({ bytesMax: 100, eventsMax: 10 })
  const ticket = admission.admit(50)
  ticket.addEvents(5)
  ticket.release()
  ticket.release()
  ticket.raiseBytes(90)
  ticket.addEvents(9)
  expect(admission.inFlight).toEqual({ bytes: 0, events: 0, requests: 0 })
})
