import { Worker } from '@headrace/sdk'
import { batchProcessor, onOrderCreated, onUserSignup } from './workflows.ts'

const worker = new Worker({ workflows: [onOrderCreated, onUserSignup, batchProcessor] })

// Until SIGTERM or Ctrl-C: then every run goes on to its next step boundary and is given back.
await worker.run()
