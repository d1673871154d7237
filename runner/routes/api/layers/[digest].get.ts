import { runnerApi } from '#core/api/runner.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#runner/context.ts'

export default defineEndpoint(runnerApi.getLayer, ({ params }) => useContext().openLayer(params.digest))
