/**
 * `npm run test:kubernetes`: the charts on a real Kubernetes, a node of its own on this machine.
 *
 * Everything of the node runs in namespaces of its own (processes, mounts, network): it can neither be reached from
 * outside nor reach out, and when the first process in there ends, so does all the rest. What is built needs the
 * network, and is built before.
 */
import { spawn } from 'node:child_process'
import { access, mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { eventually } from '../../libs/testing/src/eventually.ts'
import { findHelm } from '../deploy/helm.ts'
import { saveImages } from './images.ts'
import { findKubeconform, findNodePrograms } from './programs.ts'
import { REPOSITORY } from './repository.ts'

const NEEDED: Record<string, string> = {
  '/usr/bin/etcd': 'etcd-server',
  '/usr/bin/containerd': 'containerd',
  '/usr/sbin/runc': 'runc',
  '/usr/lib/cni/bridge': 'containernetworking-plugins',
  '/usr/sbin/iptables': 'iptables',
  '/usr/sbin/conntrack': 'conntrack',
  '/usr/bin/openssl': 'openssl',
}
/** Not of a namespace: the kubelet sets them for the whole machine, and here they are set back. */
const KERNEL_SETTINGS = [
  'vm/overcommit_memory',
  'vm/panic_on_oom',
  'kernel/panic',
  'kernel/panic_on_oops',
  'kernel/keys/root_maxkeys',
  'kernel/keys/root_maxbytes',
]
/** Of the one interface of the node's network, which leads nowhere. */
const NODE_ADDRESS = '172.30.0.1'
const CGROUPS = '/sys/fs/cgroup'

/** What the node needs to itself: where its programs write, and a network with one interface. */
const ENTER = `
set -eu
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
ip link set lo up
ip link add node0 type veth peer name node1
ip address add "$HEADRACE_NODE_ADDRESS/24" dev node0
ip link set node0 up
ip link set node1 up
ip route add default dev node0
echo 1 > /proc/sys/net/ipv4/ip_forward
# Not exec: the first process of a namespace takes in the orphans, and a shell buries them.
"$@"
`

const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

async function refuseWithout(): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('A node needs root')
  const missing: string[] = []
  for (const [file, debianPackage] of Object.entries(NEEDED)) {
    await access(file).catch(() => missing.push(debianPackage))
  }
  if (missing.length > 0) throw new Error(`Missing: apt-get install ${missing.join(' ')}`)
}

const readSetting = async (name: string): Promise<string> => await readFile(`/proc/sys/${name}`, 'utf8')

/** Each controller has a tree of its own on a machine with the first version of cgroups. */
async function cgroupFolders(name: string): Promise<string[]> {
  const unified = await access(join(CGROUPS, 'cgroup.controllers')).then(
    () => true,
    () => false,
  )
  if (unified) return [join(CGROUPS, name)]
  return (await readdir(CGROUPS)).map((controller) => join(CGROUPS, controller, name))
}

/** What ran in there has been killed, and may take a moment to be gone. */
async function removeCgroup(folder: string): Promise<void> {
  const below = await readdir(folder, { withFileTypes: true }).catch(() => [])
  for (const entry of below) if (entry.isDirectory()) await removeCgroup(join(folder, entry.name))
  await eventually(`${folder} is empty`, async () => {
    await rmdir(folder)
    return true
  })
}

async function runInside(folder: string, programs: string): Promise<number> {
  const namespaces = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
  const tests = [process.execPath, '--conditions=@headrace/source', 'scripts/test.ts']
  const config = ['--config', 'tests/kubernetes/vitest.config.ts', ...process.argv.slice(2)]
  const child = spawn('unshare', [...namespaces, 'sh', '-c', ENTER, 'sh', ...tests, ...config], {
    cwd: REPOSITORY,
    stdio: 'inherit',
    env: {
      ...process.env,
      HEADRACE_NODE_FOLDER: folder,
      HEADRACE_NODE_PROGRAMS: programs,
      HEADRACE_NODE_ADDRESS: NODE_ADDRESS,
    },
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill('SIGKILL'))
  return await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  })
}

await refuseWithout()
say('programs of the node, helm, kubeconform: from the cache, or built now')
const programs = await findNodePrograms()
await Promise.all([findHelm(), findKubeconform()])
const folder = await mkdtemp(join(tmpdir(), 'headrace-node-'))
const cgroups = await cgroupFolders(basename(folder))
const settings = await Promise.all(
  KERNEL_SETTINGS.map(async (name) => [name, await readSetting(name)] as const),
)
try {
  say('image of this tree, Kafka, Postgres')
  await saveImages(join(folder, 'images.tar'), programs)
  for (const cgroup of cgroups) await mkdir(cgroup)
  process.exitCode = await runInside(folder, programs)
} finally {
  for (const [name, value] of settings) await writeFile(`/proc/sys/${name}`, value)
  for (const cgroup of cgroups) await removeCgroup(cgroup)
  await rm(folder, { recursive: true, force: true })
}
