import { globSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createMetrics } from '@headrace/service'
import { REPOSITORY } from '@headrace/testing'
import { expect, test } from 'vitest'
import { parse } from 'yaml'

/** Rules and dashboards can name only what some process really shows. */

interface Rules {
  groups: {
    rules: { alert: string; expr: string; annotations: { runbook_url: string; summary: string } }[]
  }[]
}
interface Dashboard {
  uid: string
  panels: { id: number; title: string; targets: { expr: string }[] }[]
}

const files = join(REPOSITORY, 'deploy/helm/headrace/files')
const rules = (parse(readFileSync(join(files, 'alerts.yaml'), 'utf8')) as Rules).groups.flatMap(
  (group) => group.rules,
)
const dashboards = readdirSync(join(files, 'dashboards')).map(
  (file) => JSON.parse(readFileSync(join(files, 'dashboards', file), 'utf8')) as Dashboard,
)

/** Metrics as the code says them, with their types. */
function metricsOfTheCode(): Map<string, string> {
  const kinds = new Map<string, string>()
  const add = (kind: string, name: string): void => {
    kinds.set(`headrace_${name}`, kind)
  }
  const sources = globSync('{apps,libs}/*/src/**/*.ts', { cwd: REPOSITORY }).filter(
    (file) => !file.includes('.test.'),
  )
  for (const file of sources) {
    const text = readFileSync(join(REPOSITORY, file), 'utf8')
    for (const [, kind = '', name = ''] of text.matchAll(
      /\.(counter|gauge|histogram)(?:<[^>]*>)?\(\{\s*name: ['`]([^'`]+)['`]/g,
    )) {
      if (!name.includes('${')) add(kind, name)
      // The HTTP server's, which are named for the app that serves.
      else for (const app of ['gateway', 'orchestrator']) add(kind, name.replace('${name}', app))
    }
    // The SDK writes its own.
    for (const [, kind = '', name = ''] of text.matchAll(/\badd\('(gauge|counter|histogram)', '(\w+)'/g))
      add(kind, name)
  }
  return kinds
}

/** What a query can name: a histogram shows three series; and the process's own. */
async function seriesOfTheCode(): Promise<Set<string>> {
  const names = new Set<string>()
  for (const [name, kind] of metricsOfTheCode())
    for (const series of kind === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']) names.add(name + series)
  for (const { name } of await createMetrics({ process: true }).registry.getMetricsAsJSON()) names.add(name)
  return names
}

const metricsIn = (expression: string): string[] => expression.match(/headrace_\w+/g) ?? []

test('every metric of the alerts and the dashboards is one that the code has', async () => {
  const known = await seriesOfTheCode()
  expect(known.size).toBeGreaterThan(50)
  const used = [
    ...rules.flatMap(({ expr }) => metricsIn(expr)),
    ...dashboards.flatMap(({ panels }) =>
      panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => metricsIn(expr))),
    ),
  ]
  expect(used.length).toBeGreaterThan(40)
  expect([...new Set(used)].filter((name) => !known.has(name))).toEqual([])
})

test('every metric is in the reference with its type, its labels and what it means, and nothing else is', () => {
  const text = readFileSync(join(REPOSITORY, 'docs/metrics.md'), 'utf8')
  const rows = text
    .split('\n')
    .filter((line) => line.startsWith('| `headrace_'))
    .map((line) => line.split('|').map((cell) => cell.trim()))
  for (const cells of rows) expect(cells.slice(1, 5).filter((cell) => cell.length > 0)).toHaveLength(4)
  const told = new Map(rows.map(([, name = '', kind = '']) => [name.replaceAll('`', ''), kind]))
  expect(Object.fromEntries(told)).toEqual(Object.fromEntries(metricsOfTheCode()))
})

test('every alert has its page, which names it, and every page its alert', () => {
  for (const { alert, annotations } of rules)
    expect(readFileSync(join(REPOSITORY, annotations.runbook_url), 'utf8').split('\n')[0]).toBe(`# ${alert}`)
  const pages = readdirSync(join(REPOSITORY, 'docs/runbooks')).map((file) => `docs/runbooks/${file}`)
  expect(pages.toSorted()).toEqual(rules.map(({ annotations }) => annotations.runbook_url).toSorted())
})

test('alerts and panels are named once', () => {
  const alerts = rules.map(({ alert }) => alert)
  expect(alerts).toEqual([...new Set(alerts)])
  for (const { panels } of dashboards) {
    const titles = panels.map(({ title }) => title)
    expect(titles).toEqual([...new Set(titles)])
  }
})
