import { runnerApi } from '#core/api/runner.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#runner/context.ts'

export default defineEndpoint(runnerApi.resumeTask, ({ params, body }) => useContext().tasks.resume({ ...params, ...body }))
