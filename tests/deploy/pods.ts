import type { KubernetesObject } from './helm.ts'

interface EnvironmentVariable {
  name: string
  value?: string
  valueFrom?: { secretKeyRef?: { name: string; key: string } }
}

export interface Container {
  name: string
  image: string
  args?: string[]
  env?: EnvironmentVariable[]
  ports?: { name: string; containerPort: number }[]
  securityContext: Record<string, unknown>
  resources: { requests?: object; limits?: object }
  volumeMounts?: { name: string; mountPath: string }[]
  lifecycle?: { preStop?: { sleep?: { seconds: number } } }
  [field: string]: unknown
}

export interface PodSpec {
  automountServiceAccountToken: boolean
  terminationGracePeriodSeconds?: number
  securityContext: Record<string, unknown>
  initContainers?: Container[]
  containers: Container[]
  volumes?: { name: string; secret?: { items?: { key: string; path: string }[] } }[]
}

export interface Deployment extends KubernetesObject {
  spec: {
    replicas?: number
    strategy: { rollingUpdate?: { maxUnavailable: number } }
    template: {
      metadata: { labels?: Record<string, string>; annotations?: Record<string, string> }
      spec: PodSpec
    }
  }
}

const isDeployment = (object: KubernetesObject): object is Deployment => object.kind === 'Deployment'

export const deploymentsOf = (objects: KubernetesObject[]): Deployment[] => objects.filter(isDeployment)

/** Of everything that brings pods: deployments, jobs, and pods themselves. */
export function podsOf(objects: KubernetesObject[]): { name: string; spec: PodSpec }[] {
  return objects.flatMap((object) => {
    const { name } = object.metadata
    if (object.kind === 'Pod') return [{ name, spec: object['spec'] as PodSpec }]
    if (object.kind !== 'Deployment' && object.kind !== 'Job') return []
    const { template } = object['spec'] as { template: { spec: PodSpec } }
    return [{ name, spec: template.spec }]
  })
}

export const containersOf = ({ initContainers = [], containers }: PodSpec): Container[] => [
  ...initContainers,
  ...containers,
]
