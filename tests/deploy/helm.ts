import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { REPOSITORY } from '@headrace/testing'
import { parseAllDocuments } from 'yaml'
import { findGoProgram } from './go-program.ts'

const run = promisify(execFile)

/** What the charts are rendered for: a helm that was not built by its makers takes itself for one of 1.20. */
const KUBERNETES_VERSION = '1.34.0'
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

export interface KubernetesObject {
  apiVersion: string
  kind: string
  metadata: { name: string; labels?: Record<string, string>; annotations?: Record<string, string> }
  [field: string]: unknown
}

export interface RenderOptions {
  /** A file of the chart's `ci` folder, without `-values.yaml`. */
  mode: string
  /** Over it, as after `--set`. */
  set?: string[]
  /** What the cluster knows besides Kubernetes itself. */
  apis?: string[]
}

/** Helm, from the user's cache; the first time it is built there with Go. */
export const findHelm = async (): Promise<string> =>
  await findGoProgram({ name: 'helm', module: 'helm.sh/helm/v3/cmd/helm', version: 'v3.19.0' })

export const chartFolder = (chart: string): string => join(REPOSITORY, 'deploy/helm', chart)

/** The modes that a chart has values for. */
export async function modesOf(chart: string): Promise<string[]> {
  const files = await readdir(join(chartFolder(chart), 'ci'))
  return files.map((file) => file.replace('-values.yaml', '')).sort()
}

const valuesOf = (chart: string, { mode, set = [] }: RenderOptions): string[] => [
  '--values',
  join(chartFolder(chart), 'ci', `${mode}-values.yaml`),
  '--kube-version',
  KUBERNETES_VERSION,
  ...set.flatMap((one) => ['--set', one]),
]

/** `helm lint --strict`; rejects with what it complains of. */
export async function lint(chart: string, options: RenderOptions): Promise<void> {
  await run(await findHelm(), [
    'lint',
    '--strict',
    '--quiet',
    chartFolder(chart),
    ...valuesOf(chart, options),
  ])
}

/** What helm would send to the cluster, as text. Rejects with helm's words. */
export async function renderText(chart: string, options: RenderOptions): Promise<string> {
  const apis = (options.apis ?? []).flatMap((api) => ['--api-versions', api])
  const args = ['template', 'release', chartFolder(chart), '--namespace', 'shop', ...apis]
  const { stdout } = await run(await findHelm(), [...args, ...valuesOf(chart, options)], {
    maxBuffer: OUTPUT_BYTES_MAX,
  })
  return stdout
}

export async function render(chart: string, options: RenderOptions): Promise<KubernetesObject[]> {
  return objectsOf(await renderText(chart, options))
}

/** The objects of rendered text. Throws where it is no YAML, or names a field twice. */
export function objectsOf(text: string): KubernetesObject[] {
  return parseAllDocuments(text, { uniqueKeys: true }).flatMap((document) => {
    const [error] = document.errors
    if (error !== undefined) throw error
    const object: KubernetesObject | null = document.toJS()
    return object === null ? [] : [object]
  })
}
