import { hostApi } from '#core/api/host.ts'
import { defineSocketEndpoint } from '#core/http/endpoint-handler.ts'
import { useContext } from '#server/context.ts'

export default defineSocketEndpoint(hostApi.openTerminal, (socket, input) => useContext().terminals.open(socket, input))
