import { noQuery, parseQuery } from '@headrace/http'
import { parseOrProblem, ProblemError, type WireList, type WireWorkflow } from '@headrace/schemas'
import { getWorkflow, listWorkflows, setWorkflowPaused, type WorkflowRecord } from '@headrace/store'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ApiContext } from '../context.ts'
import { nameOrProblem } from './name-or-problem.ts'
import { pageOf, pageParameters, wireList } from './page.ts'

type ById = { Params: { id: string } }
const page = z.strictObject(pageParameters)
const noBody = z.strictObject({}).nullish()

/** `GET /v1/workflows[/{id}]`, `POST /v1/workflows/{id}/pause|resume`. */
export function workflowRoutes(app: FastifyInstance, { store }: ApiContext): void {
  async function existingWorkflow(id: string): Promise<WireWorkflow> {
    const workflow = await getWorkflow(store, id)
    if (workflow === null) throw new ProblemError('workflow_not_found', `There is no workflow ${id}`)
    return wireWorkflow(workflow)
  }

  app.route({
    method: 'GET',
    url: '/v1/workflows',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireList<WireWorkflow>> => {
      const parameters = parseQuery(page, request.query)
      return wireList(
        pageOf(await listWorkflows(store), ({ id }) => id, parameters),
        wireWorkflow,
      )
    },
  })

  app.route<ById>({
    method: 'GET',
    url: '/v1/workflows/:id',
    config: { scope: 'runs:read' },
    handler: async (request): Promise<WireWorkflow> => {
      parseQuery(noQuery, request.query)
      return await existingWorkflow(nameOrProblem('workflow_not_found', 'workflow', request.params.id))
    },
  })

  for (const action of ['pause', 'resume'] as const)
    app.route<ById>({
      method: 'POST',
      url: `/v1/workflows/:id/${action}`,
      config: { scope: 'operate' },
      handler: async (request): Promise<WireWorkflow> => {
        parseQuery(noQuery, request.query)
        parseOrProblem(noBody, request.body)
        const id = nameOrProblem('workflow_not_found', 'workflow', request.params.id)
        if (!(await setWorkflowPaused(store, id, action === 'pause')))
          throw new ProblemError('workflow_not_found', `There is no workflow ${id} that is not retired`)
        return await existingWorkflow(id)
      },
    })
}

const wireWorkflow = (workflow: WorkflowRecord): WireWorkflow => ({
  id: workflow.id,
  app: workflow.app,
  build: workflow.build,
  queue: workflow.queue,
  on_deploy: workflow.onDeploy,
  status: workflow.status,
  concurrency: workflow.concurrency,
  triggers: workflow.triggers,
  workers: workflow.workers,
  runs: workflow.runs,
})
