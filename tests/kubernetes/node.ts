import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
// By its file: vitest resolves a global set-up's packages to what is built, which need not be there.
import { eventually } from '../../libs/testing/src/eventually.ts'
import { makeCertificates } from './certificates.ts'
import {
  API_PORT,
  API_SERVICE,
  containerdConfig,
  containerdSocket,
  dnsConfig,
  kubeconfig,
  kubeletConfig,
  NODE_NAME,
  PAUSE_IMAGE,
  type NodePlace,
  podNetwork,
  proxyConfig,
  SERVICES,
} from './node-settings.ts'

const run = promisify(execFile)

const READY_DEADLINE_MS = 300_000
const LAST_WORDS_CHARACTERS = 3_000

export interface KubernetesNode {
  address: string
  /** Runs kubectl, with `input` as its standard input. Rejects with what it said. */
  kubectl(args: string[], input?: string): Promise<string>
  kubeconfig: string
  /** Where a test writes what it must keep. */
  folder: string
}

const setting = (name: string): string => {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set: this runs by npm run test:kubernetes`)
  return value
}

/** The node that runs, or is about to. */
export function findNode(): KubernetesNode {
  const folder = setting('HEADRACE_NODE_FOLDER')
  const kubeconfigFile = join(folder, 'kubeconfig')
  return {
    folder,
    address: setting('HEADRACE_NODE_ADDRESS'),
    kubeconfig: kubeconfigFile,
    kubectl: async (args, input) =>
      await say(
        join(setting('HEADRACE_NODE_PROGRAMS'), 'kubectl'),
        ['--kubeconfig', kubeconfigFile, ...args],
        input,
      ),
  }
}

/** Vitest calls it before all tests. Nobody stops the node: see main.ts. */
export async function setup(): Promise<void> {
  const node = findNode()
  const programs = setting('HEADRACE_NODE_PROGRAMS')
  const file = (name: string): string => join(node.folder, name)
  await writeSettings(node)
  const start = async (name: string, command: string, args: string[]): Promise<void> => {
    await startProgram({ name, command, args, log: file(`${name}.log`) })
  }
  const startOurs = async (name: string, args: string[]): Promise<void> => {
    await start(name, join(programs, name), args)
  }

  await start('etcd', '/usr/bin/etcd', etcdArguments(node))
  await start('containerd', '/usr/bin/containerd', ['--config', file('containerd.toml')])
  await startOurs('kube-apiserver', apiServerArguments(node))
  await eventually('the API server is ready', async () => await node.kubectl(['get', '--raw', '/readyz']), {
    deadlineMs: READY_DEADLINE_MS,
  })
  await startOurs('kube-controller-manager', [
    `--kubeconfig=${file('kubeconfig')}`,
    `--root-ca-file=${file('ca.crt')}`,
    `--service-account-private-key-file=${file('service-accounts.key')}`,
    '--use-service-account-credentials=false',
    '--leader-elect=false',
  ])
  await startOurs('kube-scheduler', [`--kubeconfig=${file('kubeconfig')}`, '--leader-elect=false'])
  await startOurs('kubelet', [
    `--config=${file('kubelet.json')}`,
    `--kubeconfig=${file('kubeconfig')}`,
    `--root-dir=${file('kubelet')}`,
    `--hostname-override=${NODE_NAME}`,
    `--node-ip=${node.address}`,
  ])
  await startOurs('kube-proxy', [`--config=${file('proxy.json')}`])
  await startOurs('coredns', ['-conf', file('Corefile')])
  const address = ['--address', containerdSocket(node), '--namespace', 'k8s.io']
  await eventually('containerd answers', async () => await say('ctr', [...address, 'version']))
  await say('ctr', [...address, 'images', 'import', file('images.tar')])
  await eventually(
    'the node is ready',
    async () => (await node.kubectl(['get', 'nodes', '--no-headers'])).includes(' Ready '),
    { deadlineMs: READY_DEADLINE_MS },
  )
  process.stdout.write(await node.kubectl(['version']))
}

async function writeSettings(place: NodePlace): Promise<void> {
  const file = (name: string): string => join(place.folder, name)
  await mkdir(file('cni'))
  await makeCertificates(place.folder, [
    `IP:${place.address}`,
    `IP:${API_SERVICE}`,
    'DNS:kubernetes.default.svc',
  ])
  await writeFile(file('kubeconfig'), JSON.stringify(kubeconfig(place)))
  await writeFile(file('kubelet.json'), JSON.stringify(kubeletConfig(place)))
  await writeFile(file('proxy.json'), JSON.stringify(proxyConfig(place)))
  await writeFile(file('containerd.toml'), containerdConfig(place, PAUSE_IMAGE))
  await writeFile(file('Corefile'), dnsConfig(place))
  await writeFile(file('cni/pods.conflist'), JSON.stringify(podNetwork(place)))
  // There is nobody to ask but the cluster's own DNS.
  await writeFile(file('resolv.conf'), '')
}

const etcdArguments = ({ folder }: NodePlace): string[] => [
  `--data-dir=${folder}/etcd`,
  '--listen-client-urls=http://127.0.0.1:2379',
  '--advertise-client-urls=http://127.0.0.1:2379',
  '--listen-peer-urls=http://127.0.0.1:2380',
  '--unsafe-no-fsync',
]

const apiServerArguments = ({ folder, address }: NodePlace): string[] => [
  '--etcd-servers=http://127.0.0.1:2379',
  `--bind-address=${address}`,
  `--advertise-address=${address}`,
  `--secure-port=${API_PORT}`,
  `--service-cluster-ip-range=${SERVICES}`,
  '--authorization-mode=RBAC',
  `--client-ca-file=${folder}/ca.crt`,
  `--tls-cert-file=${folder}/server.crt`,
  `--tls-private-key-file=${folder}/server.key`,
  `--kubelet-client-certificate=${folder}/admin.crt`,
  `--kubelet-client-key=${folder}/admin.key`,
  '--kubelet-preferred-address-types=InternalIP',
  '--service-account-issuer=https://kubernetes.default.svc',
  `--service-account-key-file=${folder}/service-accounts.pub`,
  `--service-account-signing-key-file=${folder}/service-accounts.key`,
]

interface ProgramOptions {
  name: string
  command: string
  args: string[]
  log: string
}

/** Says at once that it has ended: a part of a node that is not there would be a puzzle minutes later. */
async function startProgram({ name, command, args, log }: ProgramOptions): Promise<void> {
  const output = await open(log, 'w')
  try {
    const child = spawn(command, args, { stdio: ['ignore', output.fd, output.fd] })
    await once(child, 'spawn')
    child.once('exit', (code) => {
      const words = readFileSync(log, 'utf8').slice(-LAST_WORDS_CHARACTERS)
      process.stdout.write(`${name} has ended with ${code}:\n${words}\n`)
    })
  } finally {
    await output.close()
  }
}

/** What a program writes to its standard output. Rejects with all that it said. */
export async function say(command: string, args: string[], input?: string): Promise<string> {
  const running = run(command, args, { maxBuffer: 64 * 1024 * 1024 })
  if (input !== undefined) running.child.stdin?.end(input)
  try {
    return (await running).stdout
  } catch (error) {
    // Helm tells the logs of a test that failed there, and of its end elsewhere.
    if (error instanceof Error && 'stdout' in error) error.message += `\n${String(error.stdout)}`
    throw error
  }
}
