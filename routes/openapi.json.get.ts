import { Readable } from 'node:stream'
import { hostApi } from '#core/api/host.ts'
import { openApiDocument } from '#core/api/openapi.ts'
import { defineEndpoint } from '#core/http/endpoint-handler.ts'

export default defineEndpoint(hostApi.getOpenApi, () => Readable.from([JSON.stringify(openApiDocument(hostApi))]))
