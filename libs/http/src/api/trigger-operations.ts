import { replayTriggerSchema, resetTriggerSchema } from '@headrace/schemas'
import { z } from 'zod'
import { answer, json, type Operation, type Operations } from './operation.ts'
import { page } from './parameters.ts'
import { build, replay, reset, trigger, workflow } from './trigger-schemas.ts'
import { listOf } from './wire-schema.ts'

const read = { scope: 'runs:read', apps: ['orchestrator'] } as const
const noBody = { ...json(z.strictObject({})), isOptional: true }

const steerTrigger = (id: string, summary: string): Operation => ({
  id,
  tag: 'triggers',
  summary,
  scope: 'operate',
  apps: ['orchestrator'],
  body: noBody,
  answers: { 200: answer('The trigger', trigger) },
  problems: ['trigger_not_found'],
})

const steerWorkflow = (id: string, summary: string): Operation => ({
  id,
  tag: 'workflows',
  summary,
  scope: 'operate',
  apps: ['orchestrator'],
  body: noBody,
  answers: { 200: answer('The workflow', workflow) },
  problems: ['workflow_not_found'],
})

export const triggerOperations: Operations = {
  'GET /v1/workflows': {
    ...read,
    id: 'listWorkflows',
    tag: 'workflows',
    summary: 'Registered workflows',
    query: page,
    answers: { 200: answer('By id', listOf(workflow)) },
  },
  'GET /v1/workflows/{id}': {
    ...read,
    id: 'getWorkflow',
    tag: 'workflows',
    summary: 'One workflow, also a retired one',
    answers: { 200: answer('The workflow', workflow) },
    problems: ['workflow_not_found'],
  },
  'POST /v1/workflows/{id}/pause': steerWorkflow(
    'pauseWorkflow',
    'Begin none of its runs until it is resumed',
  ),
  'POST /v1/workflows/{id}/resume': steerWorkflow('resumeWorkflow', 'Begin its queued runs'),
  'GET /v1/builds': {
    ...read,
    id: 'listBuilds',
    tag: 'workflows',
    summary: 'What was registered of each app, the newest build first',
    query: page,
    answers: { 200: answer('A page', listOf(build)) },
  },
  'GET /v1/triggers': {
    ...read,
    id: 'listTriggers',
    tag: 'triggers',
    summary: 'Triggers that are not retired',
    query: page,
    answers: { 200: answer('By id', listOf(trigger)) },
  },
  'GET /v1/triggers/{id}': {
    ...read,
    id: 'getTrigger',
    tag: 'triggers',
    summary: 'One trigger, also a retired one',
    answers: { 200: answer('The trigger', trigger) },
    problems: ['trigger_not_found'],
  },
  'POST /v1/triggers/{id}/pause': steerTrigger('pauseTrigger', 'Start no more runs until it is resumed'),
  'POST /v1/triggers/{id}/resume': steerTrigger('resumeTrigger', 'Go on where it was paused'),
  'POST /v1/triggers/{id}/reset': {
    ...steerTrigger('resetTrigger', 'Set its cursors to a place of its stream'),
    body: json(resetTriggerSchema),
    answers: { 200: answer('What was done, or would be', reset) },
    problems: ['trigger_not_found', 'stream_not_found', 'kafka_unavailable'],
  },
  'POST /v1/triggers/{id}/replay': {
    ...steerTrigger('replayTrigger', 'Start its runs again for a range of its stream'),
    body: json(replayTriggerSchema),
    answers: { 200: answer('It has ended', replay), 202: answer('It goes on', replay) },
    problems: ['trigger_not_found', 'stream_not_found', 'too_many_replays', 'kafka_unavailable'],
  },
  'GET /v1/triggers/{id}/replays/{replay}': {
    ...read,
    id: 'getReplay',
    tag: 'triggers',
    summary: 'How far a replay is',
    answers: { 200: answer('The replay', replay) },
    problems: ['replay_not_found'],
  },
  'POST /v1/triggers/{id}/replays/{replay}/cancel': {
    ...steerTrigger('cancelReplay', 'End a replay'),
    answers: { 200: answer('The replay', replay) },
    problems: ['replay_not_found'],
  },
}
