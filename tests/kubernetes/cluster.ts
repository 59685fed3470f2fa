import { chartFolder, findHelm } from '../deploy/helm.ts'
import { type KubernetesNode, say } from './node.ts'

/** Under which the API server refuses pods that are not as restricted as can be. */
const RESTRICTED = 'pod-security.kubernetes.io/enforce=restricted'
const DEADLINE = '8m'

/** As few cores as the machine has are to hold two of everything, and one more during a rolling restart. */
export const SMALL = Object.fromEntries(
  ['gateway', 'triggerService', 'orchestrator'].map((app) => [`${app}.resources.requests.cpu`, '20m']),
)

export interface Release {
  name: string
  chart: 'headrace' | 'headrace-worker'
  namespace: string
  set: Record<string, string | number | boolean>
}

/** What helm and kubectl are asked of the node. */
export class Cluster {
  readonly node: KubernetesNode

  constructor(node: KubernetesNode) {
    this.node = node
  }

  async kubectl(namespace: string, ...args: string[]): Promise<string> {
    return await this.node.kubectl(['--namespace', namespace, ...args])
  }

  /** A namespace that takes restricted pods only. */
  async makeNamespace(name: string): Promise<void> {
    await this.node.kubectl(['create', 'namespace', name])
    await this.node.kubectl(['label', 'namespace', name, RESTRICTED])
  }

  async apply(namespace: string, ...objects: object[]): Promise<void> {
    const input = objects.map((object) => JSON.stringify(object)).join('\n---\n')
    await this.node.kubectl(['--namespace', namespace, 'apply', '--filename', '-'], input)
  }

  /** Installs or upgrades, and waits until all is ready. */
  async install({ name, chart, namespace, set }: Release): Promise<void> {
    const values = Object.entries(set).flatMap(([key, value]) => ['--set', `${key}=${value}`])
    await this.helm(
      namespace,
      'upgrade',
      '--install',
      name,
      chartFolder(chart),
      '--wait',
      '--timeout',
      DEADLINE,
      ...values,
    )
  }

  async helm(namespace: string, ...args: string[]): Promise<string> {
    return await say(await findHelm(), [
      '--kubeconfig',
      this.node.kubeconfig,
      '--namespace',
      namespace,
      ...args,
    ])
  }

  /** A rolling restart, to its end: until no pod of before is left. */
  async restart(namespace: string, deployment: string): Promise<void> {
    const before = await this.pods(namespace, deployment)
    await this.kubectl(namespace, 'rollout', 'restart', `deployment/${deployment}`)
    await this.settled(namespace, deployment)
    await this.gone(namespace, before)
  }

  /** Until all pods of a deployment are ready. */
  async settled(namespace: string, deployment: string): Promise<void> {
    await this.kubectl(namespace, 'rollout', 'status', `deployment/${deployment}`, '--timeout', DEADLINE)
  }

  /** Until these pods are no more. */
  async gone(namespace: string, pods: string[]): Promise<void> {
    if (pods.length === 0) return
    const names = pods.map((pod) => `pod/${pod}`)
    await this.kubectl(namespace, 'wait', '--for=delete', '--timeout', DEADLINE, ...names)
  }

  /** The names of a deployment's pods. */
  async pods(namespace: string, deployment: string): Promise<string[]> {
    const named = await this.kubectl(namespace, 'get', 'pods', '--output', 'name')
    const start = `pod/${deployment}-`
    return named
      .split('\n')
      .filter((pod) => pod.startsWith(start) && pod.slice(start.length).split('-').length === 2)
      .map((pod) => pod.slice('pod/'.length))
  }

  /** The address at which a service is reached from the node. */
  async address(namespace: string, service: string): Promise<string> {
    return await this.kubectl(namespace, 'get', 'service', service, '--output=jsonpath={.spec.clusterIP}')
  }
}
