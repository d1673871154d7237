import { hostApi } from '#core/api/host.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#server/context.ts'

export default defineEndpoint(hostApi.drainNode, async ({ params, body }) => {
  const { nodes, tasks } = useContext()
  return tasks.toNode(await nodes.drain(params.hostname, body.reason))
})
