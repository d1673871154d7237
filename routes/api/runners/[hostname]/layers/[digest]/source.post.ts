import { hostApi } from '#core/api/host.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#server/context.ts'

export default defineEndpoint(hostApi.findLayerSource, ({ params, query, body, signal }) => useContext().layerSources.find(params.hostname, params.digest, body, { waitMs: 1000 * query.wait, signal }))
