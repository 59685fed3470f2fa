import { bulkRunsSchema, resumeStepSchema, startRunSchema } from '@headrace/schemas'
import { z } from 'zod'
import { answer, json, type Operation, type Operations } from './operation.ts'
import { page, timeText, wholeNumber } from './parameters.ts'
import { bulk, existingRun, run, step, timelineEntry, wait } from './run-schemas.ts'
import { listOf } from './wire-schema.ts'

const apps = ['orchestrator'] as const
const read = { tag: 'runs', scope: 'runs:read', apps } as const
const noBody = { ...json(z.strictObject({})), isOptional: true }

const steerRun = (id: string, summary: string, scope: Operation['scope']): Operation => ({
  id,
  tag: 'runs',
  summary,
  scope,
  apps,
  body: noBody,
  answers: { 200: answer('The run', run) },
  problems: ['run_not_found', 'run_ended'],
})

export const runOperations: Operations = {
  'POST /v1/runs': {
    id: 'startRun',
    tag: 'runs',
    summary: 'Start a run',
    scope: 'runs:write',
    apps,
    headers: { traceparent: z.string().optional().describe('W3C trace context') },
    body: json(startRunSchema.meta({ id: 'StartRun' })),
    answers: {
      200: answer('There is a run with this id', existingRun),
      201: answer('It was started', run),
    },
    problems: ['workflow_not_found', 'run_exists'],
  },
  'GET /v1/runs': {
    ...read,
    id: 'listRuns',
    summary: 'Runs, the newest first, without input and output',
    query: {
      workflow: z.string().optional(),
      status: z.string().optional().describe('One, or several separated by commas'),
      trigger: z.string().optional(),
      stream: z
        .string()
        .optional()
        .describe('With `partition` and `sequence_id`: runs whose window spans it'),
      partition: wholeNumber.optional(),
      sequence_id: wholeNumber.optional(),
      tag: z.string().optional().describe('`name:value`'),
      topic: z.string().optional().describe('Runs that were handed an event of this topic'),
      event_id: z.string().optional().describe('Runs that were handed the event with this id'),
      created_after: timeText.optional(),
      created_before: timeText.optional(),
      ...page,
    },
    answers: { 200: answer('A page', listOf(run)) },
  },
  'GET /v1/runs/{id}': {
    ...read,
    id: 'getRun',
    summary: 'One run, at once or when it has ended',
    query: {
      wait: z.string().optional().describe('How long to wait for its end, such as `30s`; at most 60 s'),
    },
    headers: { Prefer: z.string().optional().describe('`wait=30`') },
    answers: { 200: answer('The run', run) },
    problems: ['run_not_found'],
  },
  'GET /v1/runs/{id}/steps': {
    ...read,
    id: 'listSteps',
    summary: 'The steps of a run, in the order they happened',
    answers: { 200: answer('On one page', listOf(step)) },
    problems: ['run_not_found'],
  },
  'GET /v1/runs/{id}/timeline': {
    ...read,
    id: 'getTimeline',
    summary: 'What happened to a run',
    answers: { 200: answer('On one page', listOf(timelineEntry)) },
    problems: ['run_not_found'],
  },
  'POST /v1/runs/{id}/steps/{key}/resume': {
    id: 'resumeStep',
    tag: 'runs',
    summary: 'Answer a step that waits for somebody',
    scope: 'runs:write',
    apps,
    body: { ...json(resumeStepSchema), isOptional: true },
    answers: { 200: answer('The wait', wait) },
    problems: ['run_not_found', 'wait_not_found', 'wait_settled'],
  },
  'POST /v1/runs/{id}/cancel': steerRun('cancelRun', 'End a run as cancelled', 'runs:write'),
  'POST /v1/runs/{id}/pause': steerRun('pauseRun', 'Hold a run until it is resumed', 'operate'),
  'POST /v1/runs/{id}/resume': steerRun('resumeRun', 'Queue a paused run again', 'operate'),
  'POST /v1/runs/{id}/retry': {
    ...steerRun('retryRun', 'Start a new run for one that did not complete', 'runs:write'),
    answers: {
      200: answer('It was retried before', existingRun),
      201: answer('The new run', run),
    },
    problems: ['run_not_found', 'run_not_retryable', 'workflow_not_found'],
  },
  'POST /v1/runs/bulk': {
    id: 'steerRuns',
    tag: 'runs',
    summary: 'Steer all runs that fit a filter',
    scope: 'operate',
    apps,
    body: json(bulkRunsSchema.meta({ id: 'BulkRuns' })),
    answers: { 200: answer('What was done, or would be', bulk) },
    problems: ['invalid_cursor'],
  },
  'GET /v1/waits': {
    ...read,
    tag: 'waits',
    id: 'listWaits',
    summary: 'Waits, those of the newest run first',
    query: {
      status: z.string().optional().describe('One, or several separated by commas'),
      topic: z.string().optional(),
      run_id: z.uuid().optional(),
      ...page,
    },
    answers: { 200: answer('A page', listOf(wait)) },
  },
}
