import { Worker } from '@headrace/sdk'
import { approval, approveOrder, checkout, requester, responder, response } from './conversations.ts'
import { batchProcessor, onOrderCreated, onUserSignup } from './workflows.ts'

// In a container: /healthz, /readyz and /metrics for whoever runs it. Elsewhere several workers share a machine.
const healthPort = Number(process.env['HEALTH_PORT'] ?? '')

const worker = new Worker({
  workflows: [onOrderCreated, onUserSignup, batchProcessor, checkout, approveOrder, requester, responder],
  // Only steps name these; the others it knows from its workflows.
  events: [approval, response],
  ...(healthPort > 0 ? { health: { port: healthPort } } : {}),
})

// Until SIGTERM or Ctrl-C: then every run goes on to its next step boundary and is given back.
await worker.run()
