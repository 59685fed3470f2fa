/**
 * A line of the worker's log as a person reads it: `12:00:00.123 worker an order came in  order_id=123  on_order_created
 * 0192…`. Workers log JSON, for machines; anything else (a `console.log`, a stack) is shown as it came.
 */
export function workerLine(line: string): string {
  const entry = parse(line)
  if (entry === null) return `worker ${line}`
  const {
    time,
    level,
    msg,
    run_id: runId,
    workflow,
    app: _app,
    event: _event,
    epoch: _epoch,
    ...fields
  } = entry
  const parts = [`worker ${loud(level)}${text(msg)}`]
  const shown = Object.entries(fields).map(([name, value]) => `${name}=${text(value)}`)
  if (shown.length > 0) parts.push(shown.join(' '))
  if (runId !== undefined)
    parts.push(
      [workflow, runId]
        .filter((id) => id !== undefined)
        .map(text)
        .join(' '),
    )
  return `${clockTime(time)}${parts.join('  ')}`
}

type Entry = Record<string, unknown> & { msg: string }

/** Null: not a line of a log. */
function parse(line: string): Entry | null {
  if (!line.startsWith('{')) return null
  try {
    const value: Record<string, unknown> = JSON.parse(line)
    return typeof value['msg'] === 'string' ? { ...value, msg: value['msg'] } : null
  } catch {
    return null
  }
}

/** What is as it should be needs no mark. */
const loud = (level: unknown): string =>
  level === 'warn' || level === 'error' || level === 'fatal' ? `${level}: ` : ''

const clockTime = (time: unknown): string =>
  typeof time === 'string' && /^\d{4}-\d\d-\d\dT/.test(time) ? `${time.slice(11, 23)} ` : ''

/** A word stands for itself; what has spaces or is no text is JSON, on one line whatever it holds. */
function text(value: unknown): string {
  if (Array.isArray(value)) return value.map(text).join(',')
  return typeof value === 'string' && !/[\n\r]/.test(value) ? value : JSON.stringify(value)
}
