import { hostApi } from '#core/api/host.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#server/context.ts'

export default defineEndpoint(hostApi.getTaskStdout, ({ params, query, range, signal }) => useContext().output.read(params.id, 'stdout', query, { range, signal }))
