import { hostApi } from '#core/api/host.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#server/context.ts'

export default defineEndpoint(hostApi.getNode, ({ params }) => {
  const { nodes, tasks } = useContext()
  return tasks.toNode(nodes.get(params.hostname))
})
