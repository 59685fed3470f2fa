import { compileFilter } from '@headrace/core'
import {
  answerKinds,
  asEventId,
  type ClaimedRun,
  type Command,
  type CommandReply,
  type CompleteCommand,
  type FailCommand,
  type InvokeCommand,
  type Json,
  limits,
  type PauseCommand,
  type PublishCommand,
  type ReleaseCommand,
  type StepCommand,
  type StoredStep,
  streamOf,
  type SuspendCommand,
  type WaitCommand,
  type WireEvent,
} from '@headrace/schemas'

export interface MemoryWait {
  key: string
  kind: WaitCommand['wait']['kind']
  topic: string | null
  filter: string | null
  /** The first place of the log that may answer, and the earliest time. */
  from: number
  sinceMs: number
  seen: number
  timeoutMs: number
  dueMs: number
  /** The wake its answer made. */
  wake: number | null
  /** The place of the log of the event that answered. */
  answeredBy: number | null
  /** What it was resumed with, as JSON text. */
  resumedWith: string | null
}

export interface MemoryRun {
  id: string
  workflow: string
  status: 'queued' | 'running' | 'waiting' | 'paused' | 'completed' | 'failed'
  epoch: number
  wake: number
  lost: number
  workerId: string | null
  input: string
  output: string | null
  error: string | null
  steps: Map<string, StoredStep>
  waits: Map<string, MemoryWait>
  parent: { id: string; key: string } | null
  /** How long the log was when it was made. */
  from: number
  /** Who ended, released or parked which epoch, so that a resend is answered as the first was. */
  left: {
    epoch: number
    workerId: string
    kind: 'complete' | 'fail' | 'release' | 'pause' | 'suspend'
  } | null
}

/** The orchestrator's side of the worker protocol, with its real rules, in memory. Time stands still but for `nowMs`. */
export class MemoryOrchestrator {
  readonly runs = new Map<string, MemoryRun>()
  /** Every event, in the order of the log, repeats included. */
  readonly log: WireEvent[] = []
  readonly refusedTopics = new Map<string, { code: string; detail: string }>()
  /** Answers at once, when a wait is registered and when an event comes; else only by `answer`. */
  prompt = true
  /** Told of each wait that is registered for the first time, and each event that a run publishes. */
  onBegin: (key: string) => void = () => {}
  nowMs = 1_000
  #made = 0

  create(workflow: string, input: unknown = null): MemoryRun {
    this.#made += 1
    const run: MemoryRun = {
      id: `00000000-0000-7000-8000-${String(this.#made).padStart(12, '0')}`,
      workflow,
      status: 'queued',
      epoch: 1,
      wake: 0,
      lost: 0,
      workerId: null,
      input: JSON.stringify(input),
      output: null,
      error: null,
      steps: new Map(),
      waits: new Map(),
      parent: null,
      from: this.log.length,
      left: null,
    }
    this.runs.set(run.id, run)
    return run
  }

  /** Its worker is declared dead: queued again at the next epoch. */
  recover(id: string): void {
    const run = this.#run(id)
    if (run.status !== 'running') return
    Object.assign(run, { status: 'queued', epoch: run.epoch + 1, lost: run.lost + 1, workerId: null })
  }

  /** A person resumes it. */
  resumeRun(id: string): void {
    const run = this.#run(id)
    if (run.status === 'paused') Object.assign(run, { status: 'queued', epoch: run.epoch + 1, error: null })
  }

  /** An event comes. */
  emit(topic: string, data: Json, id = `event-${this.log.length}`): void {
    this.#append({ topic, data, id, source: 'test', eventType: null, key: null })
    if (this.prompt) this.answerAll()
  }

  #append(event: Pick<WireEvent, 'topic' | 'data' | 'id' | 'source' | 'key'> & { eventType: string | null }) {
    const { topic, data, id, source, eventType, key } = event
    const written: WireEvent = {
      id: asEventId(id),
      source,
      topic,
      event_type: eventType,
      data,
      key,
      stream: streamOf(topic),
      partition: 0,
      sequence_id: this.log.length,
      created_at: new Date(this.nowMs).toISOString(),
    }
    this.log.push(written)
    return written
  }

  apply(workerId: string, commands: readonly Command[]): CommandReply[] {
    return commands.map((command) => this.#reply(workerId, command))
  }

  #reply(workerId: string, command: Command): CommandReply {
    if (command.kind === 'steal') return this.#steal(workerId, command.workflows, command.limit)
    const run = this.#run(command.run_id)
    if (command.kind === 'claim') return this.#claim(run, workerId, command.epoch)
    const ours = run.status === 'running' && run.workerId === workerId && run.epoch === command.epoch
    switch (command.kind) {
      case 'step':
        return ours ? this.#store(run, command) : { kind: 'lost' }
      case 'wait':
        return ours ? this.#register(run, command) : { kind: 'lost' }
      case 'look':
        return ours ? answersOf(run, command.seen) : { kind: 'lost' }
      case 'publish':
        return ours ? this.#publish(command) : { kind: 'lost' }
      case 'invoke':
        return ours ? this.#invoke(run, command) : { kind: 'lost' }
      case 'complete':
      case 'fail':
      case 'release':
      case 'pause':
      case 'suspend':
        if (ours) return leave(run, workerId, command)
    }
    const { left } = run
    const again = left?.epoch === command.epoch && left.workerId === workerId && left.kind === command.kind
    return again ? { kind: 'done' } : { kind: 'lost' }
  }

  #claim(run: MemoryRun, workerId: string, epoch: number): CommandReply {
    const free = run.status === 'queued' || (run.status === 'running' && run.workerId === workerId)
    if (!free || run.epoch !== epoch) return { kind: 'lost' }
    return { kind: 'claimed', run: take(run, workerId) }
  }

  #steal(workerId: string, workflows: readonly string[], limit: number): CommandReply {
    const queued = [...this.runs.values()].filter(
      (run) => run.status === 'queued' && workflows.includes(run.workflow),
    )
    return { kind: 'stolen', runs: queued.slice(0, limit).map((run) => take(run, workerId)) }
  }

  #store(run: MemoryRun, command: StepCommand): CommandReply {
    const { key, step_kind, n, seen, epoch, output, error, attempts } = command
    const stored = run.steps.get(key)
    if (stored !== undefined) {
      const resend = stored.epoch === epoch && stored.n === n && stored.step_kind === step_kind
      return resend ? { kind: 'stored' } : { kind: 'exists', step: stored }
    }
    run.steps.set(key, { key, step_kind, n, seen, epoch, output, error, attempts })
    return { kind: 'stored' }
  }

  #publish({ run_id, key, topic, event_type, data, event_key }: PublishCommand): CommandReply {
    const refused = this.refusedTopics.get(topic)
    if (refused !== undefined) return { kind: 'refused', ...refused }
    this.onBegin(key)
    const { id, stream, partition, sequence_id, created_at } = this.#append({
      topic,
      data: JSON.parse(data) as Json,
      id: `${run_id}/${key}`,
      source: 'headrace:run',
      eventType: event_type,
      key: event_key,
    })
    if (this.prompt) this.answerAll()
    return { kind: 'published', event: { id, topic, stream, partition, sequence_id, created_at } }
  }

  /** Workflows that are not there. */
  readonly unknownWorkflows = new Set<string>()

  #invoke(run: MemoryRun, { key, workflow, input }: InvokeCommand): CommandReply {
    const refused = childRefusal(this.childOf(run.id, key), run.waits.get(key), workflow, false)
    if (refused !== null) return refused
    if (this.unknownWorkflows.has(workflow))
      return { kind: 'refused', code: 'workflow_not_found', detail: `there is no workflow ${workflow}` }
    return { kind: 'invoked', run_id: this.#child(run, key, { workflow, input }).id }
  }

  /** The run that a step started. */
  childOf(runId: string, key: string): MemoryRun | undefined {
    return [...this.runs.values()].find(({ parent }) => parent?.id === runId && parent.key === key)
  }

  #child(run: MemoryRun, key: string, { workflow, input }: { workflow: string; input: string }): MemoryRun {
    const there = this.childOf(run.id, key)
    if (there !== undefined) return there
    this.onBegin(key)
    const child = Object.assign(this.create(workflow), { input, parent: { id: run.id, key } })
    if (this.unknownWorkflows.has(workflow))
      Object.assign(child, { status: 'failed', error: failure('workflow_not_found', `no ${workflow}`) })
    return child
  }

  /** Ends a child run, well where there is an output. */
  endChild(runId: string, key: string, { output, error }: { output?: unknown; error?: string }): void {
    const child = this.childOf(runId, key)
    if (child === undefined) throw new Error(`step ${key} of run ${runId} has started no run`)
    if (error === undefined) Object.assign(child, { status: 'completed', output: JSON.stringify(output) })
    else Object.assign(child, { status: 'failed', error: failure('boom', error) })
    if (this.prompt) this.answerAll()
  }

  /** False: nobody waits for it. */
  resume(runId: string, key: string, data: Json): boolean {
    const wait = this.#run(runId).waits.get(key)
    if (wait?.kind !== 'resume' || wait.wake !== null || wait.resumedWith !== null) return false
    wait.resumedWith = JSON.stringify(data)
    if (this.prompt) this.answerAll()
    return true
  }

  // --- waits ---

  #register(run: MemoryRun, { key, seen, wait }: WaitCommand): CommandReply {
    const child = this.childOf(run.id, key)
    const refused =
      refusalOf(run, key, wait) ?? childRefusal(child, run.waits.get(key), workflowOf(wait), true)
    if (refused !== null) return refused
    if (!run.waits.has(key)) {
      if (wait.kind === 'run') this.#child(run, key, wait)
      else this.onBegin(key)
      const since = wait.kind === 'event' ? wait.since : 'run'
      const afterMs = 'timeout_ms' in wait ? wait.timeout_ms : 'after_ms' in wait.due ? wait.due.after_ms : 0
      run.waits.set(key, {
        key,
        kind: wait.kind,
        topic: topicOf(wait),
        filter: filterOf(wait),
        from: since === 'run' ? run.from : 0,
        sinceMs: since === 'run' ? 0 : 'at_ms' in since ? since.at_ms : this.nowMs - since.ago_ms,
        seen,
        timeoutMs: afterMs,
        dueMs: wait.kind === 'time' && 'at_ms' in wait.due ? wait.due.at_ms : this.nowMs + afterMs,
        wake: null,
        answeredBy: null,
        resumedWith: null,
      })
    }
    if (this.prompt) this.answerAll()
    return answersOf(run, seen)
  }

  /** Waits of live runs whose answer is there: an event, or the time. */
  answerable(): { runId: string; key: string }[] {
    const live = [...this.runs.values()].filter((run) =>
      ['queued', 'running', 'waiting'].includes(run.status),
    )
    return live.flatMap((run) =>
      [...run.waits.values()]
        .filter((wait) => wait.wake === null && this.#answerOf(run, wait) !== null)
        .map(({ key }) => ({ runId: run.id, key })),
    )
  }

  answerAll(): void {
    for (const { runId, key } of this.answerable()) this.answer(runId, key)
  }

  /** One statement: the wait answered, its step stored, the run woken, and queued if it was parked. */
  answer(runId: string, key: string): void {
    const run = this.#run(runId)
    const wait = run.waits.get(key)
    if (wait === undefined || wait.wake !== null) return
    const result = this.#answerOf(run, wait)
    if (result === null) return
    run.wake += 1
    wait.wake = run.wake
    wait.answeredBy = result.event?.sequence_id ?? null
    if (run.status === 'waiting') Object.assign(run, { status: 'queued', epoch: run.epoch + 1 })
    run.steps.set(key, {
      key,
      step_kind: wait.kind === 'run' ? 'child' : wait.kind,
      n: 0,
      seen: run.wake,
      epoch: run.epoch,
      output: result.output,
      error: result.error,
      attempts: 1,
    })
  }

  /** What the step is given now; null: nothing yet. */
  #answerOf(
    run: MemoryRun,
    wait: MemoryWait,
  ): { output: string | null; error: string | null; event?: WireEvent } | null {
    const event = this.#candidate(run, wait)
    if (event !== null) return { output: JSON.stringify(event), error: null, event }
    if (wait.resumedWith !== null) return { output: wait.resumedWith, error: null }
    const child = wait.kind === 'run' ? this.childOf(run.id, wait.key) : undefined
    if (child?.status === 'completed') return { output: child.output, error: null }
    if (child?.status === 'failed') return { output: null, error: childError(wait, child) }
    if (!this.#isDue(wait)) return null
    return wait.kind === 'time'
      ? { output: 'null', error: null }
      : { output: null, error: timeoutError(wait) }
  }

  /** The earliest event that passes, beyond what the run had received on that topic, with that filter. */
  #candidate(run: MemoryRun, wait: MemoryWait): WireEvent | null {
    if (wait.kind !== 'event') return null
    let from = wait.from
    for (const other of run.waits.values()) {
      if (other.answeredBy === null || other.topic !== wait.topic || other.filter !== wait.filter) continue
      if ((other.wake ?? Infinity) <= wait.seen) from = Math.max(from, other.answeredBy + 1)
    }
    const filter = wait.filter === null ? null : compileFilter(wait.filter)
    const passes = (event: WireEvent): boolean =>
      event.topic === wait.topic &&
      Date.parse(event.created_at) >= wait.sinceMs &&
      (filter === null || (filter.kind === 'ok' && filter.matches(event)))
    return this.log.slice(from).find(passes) ?? null
  }

  #isDue(wait: MemoryWait): boolean {
    return wait.dueMs <= this.nowMs
  }

  #run(id: string): MemoryRun {
    const run = this.runs.get(id)
    if (run === undefined) throw new Error(`there is no run ${id}`)
    return run
  }
}

const workflowOf = (wait: WaitCommand['wait']): string | null => (wait.kind === 'run' ? wait.workflow : null)
const topicOf = (wait: WaitCommand['wait']): string | null => (wait.kind === 'event' ? wait.topic : null)
const filterOf = (wait: WaitCommand['wait']): string | null => (wait.kind === 'event' ? wait.filter : null)

function refusalOf(run: MemoryRun, key: string, wait: WaitCommand['wait']): CommandReply | null {
  const filter = filterOf(wait)
  const compiled = filter === null ? null : compileFilter(filter)
  if (compiled?.kind === 'invalid')
    return { kind: 'refused', code: 'invalid_filter', detail: compiled.reason }
  const known = run.waits.get(key)
  if (known !== undefined) {
    if (known.kind === wait.kind && known.topic === topicOf(wait) && known.filter === filter) return null
    const detail = `it waited on ${known.topic}, and now on ${topicOf(wait)}`
    return { kind: 'refused', code: 'replay_mismatch', detail }
  }
  const open = [...run.waits.values()].filter((one) => one.wake === null)
  if (open.length < limits.openWaitsPerRunMax) return null
  return { kind: 'refused', code: 'too_many_open_waits', detail: `${open.length} waits are open` }
}

const isAnswer = (step: StoredStep): boolean => (answerKinds as readonly string[]).includes(step.step_kind)

export const inOrder = (steps: Iterable<StoredStep>): StoredStep[] =>
  [...steps].sort((a, b) => a.seen - b.seen || Number(isAnswer(b)) - Number(isAnswer(a)) || a.n - b.n)

function answersOf(run: MemoryRun, seen: number): CommandReply {
  if (run.wake <= seen) return { kind: 'waiting' }
  const steps = inOrder(run.steps.values()).filter((step) => isAnswer(step) && step.seen > seen)
  return { kind: 'answers', wake: run.wake, steps }
}

const noCause = { trigger: null, parent_run_id: null, traceparent: null }
const startedByApi = { tags: {}, ...noCause, queue: 'default', since: 0, started_at: 0 }

function take(run: MemoryRun, workerId: string): ClaimedRun {
  Object.assign(run, { status: 'running', workerId })
  return {
    run_id: run.id,
    epoch: run.epoch,
    wake: run.wake,
    workflow: run.workflow,
    build: 'b1',
    attempt: 1,
    lost: run.lost,
    input: run.input,
    ...startedByApi,
    steps: inOrder(run.steps.values()),
  }
}

function leave(
  run: MemoryRun,
  workerId: string,
  command: CompleteCommand | FailCommand | ReleaseCommand | PauseCommand | SuspendCommand,
): CommandReply {
  if (command.kind === 'suspend' && run.wake !== command.seen) return answersOf(run, command.seen)
  run.left = { epoch: command.epoch, workerId, kind: command.kind }
  if (command.kind === 'suspend') Object.assign(run, { status: 'waiting', workerId: null })
  else if (command.kind === 'release')
    Object.assign(run, { status: 'queued', epoch: run.epoch + 1, workerId: null })
  else if (command.kind === 'pause')
    Object.assign(run, { status: 'paused', error: command.error, workerId: null })
  else if (command.kind === 'complete') Object.assign(run, { status: 'completed', output: command.output })
  else Object.assign(run, { status: 'failed', error: command.error })
  return { kind: 'done' }
}

/** A key that has started a run stands for that run, waited for or not. */
function childRefusal(
  child: MemoryRun | undefined,
  wait: MemoryWait | undefined,
  workflow: string | null,
  waits: boolean,
): CommandReply | null {
  if (child === undefined || (child.workflow === workflow && (wait?.kind === 'run') === waits)) return null
  const detail = `it started a run of ${child.workflow}, and now one of ${workflow}`
  return { kind: 'refused', code: 'replay_mismatch', detail }
}

const failure = (code: string, message: string): string =>
  JSON.stringify({ name: 'Error', message, code, stack: null, step_key: null })

function childError({ key }: MemoryWait, { id, status, error }: MemoryRun): string {
  const message = `run ${id} ${status}`
  const own = { name: 'ChildRunError', message, code: 'child_run_failed', stack: null, step_key: key }
  return JSON.stringify({ ...own, run_id: id, status, error: JSON.parse(error ?? 'null') as Json })
}

function timeoutError({ key, topic, timeoutMs }: MemoryWait): string {
  const message = `no event came on ${topic}`
  const error = { name: 'WaitTimeoutError', message, code: 'wait_timeout', stack: null, step_key: key }
  return JSON.stringify({ ...error, topic, timeout_ms: timeoutMs, unverified: false })
}
