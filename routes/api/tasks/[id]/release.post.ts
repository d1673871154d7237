import { hostApi } from '#core/api/host.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#server/context.ts'

export default defineEndpoint(hostApi.releaseTask, ({ params, user }) => useContext().tasks.release(params.id, user))
