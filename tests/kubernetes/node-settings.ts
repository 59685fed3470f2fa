import { basename, join } from 'node:path'

/** What the programs of a node are told, as the files that they read. */

export interface NodePlace {
  /** Everything of the node is below it. */
  folder: string
  /** The only address of the network that the node is in. */
  address: string
}

/** Holds a pod's network. Its makers' image would have to be pulled. */
export const PAUSE_IMAGE = 'headrace.test/pause:1'
export const NODE_NAME = 'headrace'
const PODS = '10.244.0.0/16'
export const SERVICES = '10.96.0.0/16'
/** The first of its services. */
export const API_SERVICE = '10.96.0.1'
export const API_PORT = 6443

export const containerdSocket = ({ folder }: NodePlace): string => join(folder, 'containerd.sock')

/** `restrict_oom_score_adj`: root need not have CAP_SYS_RESOURCE. */
export const containerdConfig = (place: NodePlace, pauseImage: string): string => `
version = 2
root = "${place.folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "${containerdSocket(place)}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${place.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`

/** A bridge for all pods. It knows no policies: those are accepted by the API server and held by nobody. */
export const podNetwork = ({ folder }: NodePlace): object => ({
  cniVersion: '0.4.0',
  name: 'pods',
  plugins: [
    {
      type: 'bridge',
      bridge: 'pods0',
      isGateway: true,
      hairpinMode: true,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: PODS }]],
        routes: [{ dst: '0.0.0.0/0' }],
        dataDir: join(folder, 'addresses'),
      },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
})

export const kubeletConfig = (place: NodePlace): object => ({
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  address: place.address,
  authentication: {
    anonymous: { enabled: false },
    webhook: { enabled: false },
    x509: { clientCAFile: join(place.folder, 'ca.crt') },
  },
  authorization: { mode: 'AlwaysAllow' },
  containerRuntimeEndpoint: `unix://${containerdSocket(place)}`,
  cgroupDriver: 'cgroupfs',
  cgroupRoot: `/${basename(place.folder)}`,
  failCgroupV1: false,
  failSwapOn: false,
  oomScoreAdj: 0,
  enforceNodeAllocatable: ['none'],
  clusterDNS: [place.address],
  clusterDomain: 'cluster.local',
  resolvConf: join(place.folder, 'resolv.conf'),
  podLogsDir: join(place.folder, 'pods'),
  volumePluginDir: join(place.folder, 'volume-plugins'),
  // The disk is the machine's: it may be as full as it was.
  evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
  imageGCHighThresholdPercent: 100,
})

export const proxyConfig = (place: NodePlace): object => ({
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  bindAddress: place.address,
  hostnameOverride: NODE_NAME,
  clientConnection: { kubeconfig: join(place.folder, 'kubeconfig') },
  mode: 'iptables',
  clusterCIDR: PODS,
  oomScoreAdj: 0,
  // The machine's, not the namespace's.
  conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
})

export const dnsConfig = (place: NodePlace): string => `
cluster.local:53 {
  errors
  health ${place.address}:8088
  ready ${place.address}:8181
  cache 5
  kubernetes cluster.local {
    kubeconfig ${place.folder}/kubeconfig
  }
}
`

export const kubeconfig = ({ folder, address }: NodePlace): object => ({
  apiVersion: 'v1',
  kind: 'Config',
  clusters: [
    {
      name: NODE_NAME,
      cluster: {
        server: `https://${address}:${API_PORT}`,
        'certificate-authority': join(folder, 'ca.crt'),
      },
    },
  ],
  users: [
    {
      name: 'admin',
      user: { 'client-certificate': join(folder, 'admin.crt'), 'client-key': join(folder, 'admin.key') },
    },
  ],
  contexts: [{ name: NODE_NAME, context: { cluster: NODE_NAME, user: 'admin' } }],
  'current-context': NODE_NAME,
})
