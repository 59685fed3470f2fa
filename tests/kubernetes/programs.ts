import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findGoProgram, go, keepBuilt } from '../deploy/go-program.ts'
import { REPOSITORY } from './repository.ts'

const folder = join(REPOSITORY, 'tests/kubernetes/programs')
const sources = ['go.mod', 'go.sum', 'coredns/main.go', 'pause/main.go']

/** As in `programs/go.mod`. Without it, Kubernetes takes itself for version 0.0.0, and helm takes it for too old. */
const KUBERNETES_VERSION = 'v1.34.2'
const VERSION_VARIABLES = Object.entries({ gitVersion: KUBERNETES_VERSION, gitMajor: '1', gitMinor: '34' })
  .map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`)
  .join(' ')

/**
 * The folder of kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl, coredns and
 * pause, from the user's cache. The first time Go builds them, which takes some ten minutes and 2 GiB of memory.
 */
export async function findNodePrograms(): Promise<string> {
  const hash = createHash('sha256')
  for (const source of sources) hash.update(await readFile(join(folder, source)))
  const name = `kubernetes-${KUBERNETES_VERSION}-${hash.digest('hex').slice(0, 12)}`
  return await keepBuilt(name, async (gathering) => {
    const linking = `-ldflags=-s -w ${VERSION_VARIABLES}`
    await go(['build', '-trimpath', linking, '-o', `${gathering}/`, 'tool', './coredns', './pause'], {
      cwd: folder,
    })
  })
}

export const findKubeconform = async (): Promise<string> =>
  await findGoProgram({
    name: 'kubeconform',
    module: 'github.com/yannh/kubeconform/cmd/kubeconform',
    version: 'v0.7.0',
  })
