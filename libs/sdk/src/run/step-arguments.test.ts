import { expect, test } from 'vitest'
import { RunBench } from '../../test/run-bench.ts'
import type { WorkflowContext } from '../workflow/context.ts'
import { defineEvent } from '../workflow/define-event.ts'
import { workflow } from '../workflow/workflow.ts'

const year = 366 * 24 * 3_600
test.each<[string, (step: WorkflowContext['step']) => Promise<unknown>, string, RegExp]>([
  [
    'no key',
    (step) => step.uuid(undefined as unknown as string),
    'TypeError',
    /step key is a text, not undef/,
  ],
  ['a key with NUL', (step) => step.sleep('a\u0000', 1), 'TypeError', /none of them NUL, .* not "a\\u0000"/],
  [
    'a key of the SDK',
    (step) => step.sleep('headrace:a', 1),
    'TypeError',
    /begin with headrace:, not "headrace:a"/,
  ],
  ['a pattern', (step) => step.waitForEvent('k', { topic: 'a/*' }), 'TypeError', /step "k": topic "a\/\*"/],
  ['a malformed topic', (step) => step.waitForEvent('k', { topic: 'a//b' }), 'TypeError', /no empty segment/],
  [
    'no topic',
    (step) => step.waitForEvent('k', {} as { topic: string }),
    'TypeError',
    /step "k": topic is required/,
  ],
  [
    'a definition without its params',
    (step) => step.waitForEvent('k', defineEvent('a/{id}'), {} as { params: { id: string } }),
    'TypeError',
    /step "k": an event of "a\/\{id\}" cannot be waited for on/,
  ],
  [
    'a timeout that is none',
    (step) => step.waitForEvent('k', { topic: 'a', timeout: 'soon' as '1s' }),
    'TypeError',
    /step "k": timeout must be seconds/,
  ],
  [
    'a timeout over 366 days',
    (step) => step.waitForEvent('k', { topic: 'a', timeout: year + 1 }),
    'LimitExceededError',
    /step "k": timeout is \d+; a wait takes at most 366 days/,
  ],
  [
    'a filter that does not compile',
    (step) => step.waitForEvent('k', { topic: 'a', if: 'event.data ==' }),
    'TypeError',
    /step "k": if is no filter/,
  ],
  [
    'a filter that cannot be stored',
    (step) => step.waitForEvent('k', { topic: 'a', if: 'event.key == "\u0000"' }),
    'TypeError',
    /step "k": if is no filter: it must not contain NUL/,
  ],
  [
    'an invalid since',
    (step) => step.waitForEvent('k', { topic: 'a', since: new Date(Number.NaN) }),
    'TypeError',
    /step "k": since must be a Date/,
  ],
  ['a negative sleep', (step) => step.sleep('k', -1), 'TypeError', /step "k": duration must be seconds/],
  ['a sleep over 366 days', (step) => step.sleep('k', '400d'), 'LimitExceededError', /duration is "400d"/],
  [
    'a time without its offset',
    (step) => step.sleepUntil('k', '2026-11-23T12:00:00'),
    'TypeError',
    /step "k": time must be a Date, an RFC 3339 text with its offset/,
  ],
  [
    'a time that is too far',
    (step) => step.sleepUntil('k', new Date('2999-01-01')),
    'LimitExceededError',
    /time is 2999-01-01T00:00:00.000Z; a wait/,
  ],
  [
    'data that is no JSON',
    (step) => step.publishEvent('k', { topic: 'a', data: { total: Number.NaN } }),
    'TypeError',
    /step "k": data cannot be sent as JSON: data\/total is NaN/,
  ],
  [
    'no data',
    (step) => step.publishEvent('k', { topic: 'a' } as { topic: string; data: unknown }),
    'TypeError',
    /step "k": data is required/,
  ],
  [
    'data that is too large',
    (step) => step.publishEvent('k', { topic: 'a', data: 'x'.repeat(1_000_000) }),
    'LimitExceededError',
    /step "k": data is 1000002 bytes of JSON; an event takes at most 1000000/,
  ],
  [
    'a malformed event type',
    (step) => step.publishEvent('k', { topic: 'a', data: 1, eventType: '' }),
    'TypeError',
    /step "k": eventType/,
  ],
  [
    'a key that is too long',
    (step) => step.publishEvent('k', { topic: 'a', data: 1, key: 'x'.repeat(1_025) }),
    'TypeError',
    /step "k": key must be at most 1024 bytes/,
  ],
  [
    'a topic to publish that is a pattern',
    (step) => step.publishEvent('k', { topic: 'a/**', data: 1 }),
    'TypeError',
    /step "k": topic/,
  ],
])(
  '%s: an error that names the step and the field, and nothing is sent',
  async (_what, call, name, message) => {
    const bench = new RunBench(
      workflow({ id: 'flow' }, async (ctx) => {
        await call(ctx.step).catch((error: unknown) => {
          throw error instanceof Error ? error : new Error(String(error))
        })
      }),
      { prompt: false },
    )
    bench.claim()
    await bench.rest(6)
    expect(bench.uncommitted.map((command) => command.kind)).toEqual(['fail'])
    expect(await bench.finish()).toBe('failed')
    expect(bench.result()).toMatchObject({ name, message: expect.stringMatching(message) })
  },
)
