import { runnerApi } from '#core/api/runner.ts'
import { HakuError } from '#core/errors.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#runner/context.ts'

export default defineEndpoint(runnerApi.putImage, ({ params, query, body, signal }) => {
  if (body.environment !== params.environment || body.version !== params.version) throw new HakuError('request.invalid', `The order is for ${body.fileName}, and was sent to ${params.environment}, version ${params.version}.`)
  return useContext().prefetches.request(body, { waitMs: 1000 * query.wait, signal })
})
