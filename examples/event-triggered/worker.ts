import { Worker } from '@headrace/sdk'
import { approveOrder, checkout, requester, responder } from './conversations.ts'
import { batchProcessor, onOrderCreated, onUserSignup } from './workflows.ts'

const worker = new Worker({
  workflows: [onOrderCreated, onUserSignup, batchProcessor, checkout, approveOrder, requester, responder],
})

// Until SIGTERM or Ctrl-C: then every run goes on to its next step boundary and is given back.
await worker.run()
