import { z } from 'zod'
import { type ErrorCode, errorCatalogue } from '../errors.ts'
import { statusOfKind } from '../http/problems.ts'
import { version } from '../version.ts'
import type { Endpoint } from './endpoint.ts'
import { problem } from './schemas.ts'

/** What every endpoint may answer, whatever it does. */
const COMMON_ERRORS: readonly ErrorCode[] = ['request.invalid', 'internal.error', 'host.stopping']
const CREDENTIAL_ERRORS: readonly ErrorCode[] = ['auth.required', 'auth.role_refused']

/** The contract as an OpenAPI 3.1 document. */
export function openApiDocument(api: Record<string, Endpoint>): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const [id, endpoint] of Object.entries(api)) {
    const path = (paths[endpoint.path] ??= {})
    path[endpoint.method.toLowerCase()] = describeEndpoint(id, endpoint)
  }
  return {
    openapi: '3.1.0',
    info: { title: 'HakuRiver', version },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Problem: jsonSchema(problem, 'output') },
    },
  }
}

// --- internal ---

function describeEndpoint(id: string, endpoint: Endpoint): Record<string, unknown> {
  return {
    operationId: id,
    summary: endpoint.summary,
    tags: [endpoint.path.split('/')[2] ?? 'contract'],
    ...(endpoint.role === 'public' ? { security: [] } : { 'x-role': endpoint.role }),
    parameters: [...parameters('path', endpoint.params), ...parameters('query', endpoint.query)],
    ...(endpoint.body && { requestBody: { required: true, content: { 'application/json': { schema: jsonSchema(endpoint.body, 'input') } } } }),
    ...(endpoint.upload && { requestBody: { required: true, content: Object.fromEntries(endpoint.upload.map((type) => [type, {}])) } }),
    responses: { [endpoint.response.status]: describeResponse(endpoint), ...describeErrors(endpoint) },
  }
}

function parameters(place: 'path' | 'query', schema: z.ZodType | undefined): Record<string, unknown>[] {
  if (!schema) return []
  const { properties = {}, required = [] } = jsonSchema(schema, 'input') as { properties?: Record<string, unknown>; required?: string[] }
  return Object.entries(properties).map(([name, property]) => ({ name, in: place, required: place === 'path' || required.includes(name), schema: property }))
}

function describeResponse({ response }: Endpoint): Record<string, unknown> {
  if ('body' in response) return { description: 'The answer', content: { 'application/json': { schema: jsonSchema(response.body, 'output') } } }
  if ('stream' in response) return { description: 'A stream', content: { [response.stream]: {} } }
  if ('socket' in response) return { description: `A WebSocket; its messages are described in ${response.socket}` }
  return { description: 'Done' }
}

function describeErrors(endpoint: Endpoint): Record<string, unknown> {
  const codes = [...COMMON_ERRORS, ...(endpoint.role === 'public' ? [] : CREDENTIAL_ERRORS), ...endpoint.errors]
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of codes) {
    const status = statusOfKind[errorCatalogue[code].kind]
    byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  const content = { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } }
  return Object.fromEntries([...byStatus].map(([status, found]) => [status, { description: found.map((code) => `\`${code}\`: ${errorCatalogue[code].title}`).join('; '), content }]))
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): unknown {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' })
  return rest
}
