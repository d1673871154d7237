import { hostApi } from '#core/api/host.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#server/context.ts'
import { getEnvironment } from '#server/environments/versions.ts'

export default defineEndpoint(hostApi.getEnvironment, ({ params }) => getEnvironment(useContext().tarballs, params.name))
