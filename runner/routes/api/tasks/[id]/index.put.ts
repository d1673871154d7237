import { runnerApi } from '#core/api/runner.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'
import { HakuError } from '#core/errors.ts'
import { useContext } from '#runner/context.ts'

export default defineEndpoint(runnerApi.putTask, ({ params, body }) => {
  if (body.id !== params.id) throw new HakuError('request.invalid', `The order is of task ${body.id}, and was sent to ${params.id}.`)
  return useContext().tasks.accept(body)
})
