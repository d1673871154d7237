import { readFileSync } from 'node:fs'
import { globSync } from 'tinyglobby'
import { describe, expect, it } from 'vitest'
import type { Endpoint } from '#core/api/endpoint.ts'
import { hostApi } from '#core/api/host.ts'
import { openApiDocument } from '#core/api/openapi.ts'
import { runnerApi } from '#core/api/runner.ts'

const apps: [name: string, folder: string, apiName: string, api: Record<string, Endpoint>][] = [
  ['Host', 'routes', 'hostApi', hostApi],
  ['Runner', 'runner/routes', 'runnerApi', runnerApi],
]

describe.each(apps)('contract and routes of the %s', (_, folder, apiName, api) => {
  const files = globSync(`${folder}/**/*.ts`)
  const routes = files.map((file) => routeOf(file.slice(folder.length)))

  it('every endpoint has a route file, and every route file an endpoint', () => {
    const endpoints = Object.values(api).map(({ method, path }) => `${method} ${path}`)
    expect(routes.toSorted()).toEqual(endpoints.toSorted())
  })

  it('every route file answers for the endpoint of its place', () => {
    for (const file of files) {
      const id = new RegExp(String.raw`${apiName}\.(\w+)`).exec(readFileSync(file, 'utf8'))?.[1] ?? ''
      const endpoint = api[id]
      expect(`${endpoint?.method} ${endpoint?.path}`, file).toBe(routeOf(file.slice(folder.length)))
    }
  })

  it('route files are thin', () => {
    for (const file of files) expect(readFileSync(file, 'utf8').split('\n').length, file).toBeLessThanOrEqual(40)
  })

  it('is described in full by its OpenAPI document', () => {
    const document = JSON.parse(JSON.stringify(openApiDocument(api))) as { paths: Record<string, Record<string, { operationId: string; responses: Record<string, unknown> }>> }
    const described = Object.values(document.paths).flatMap((path) => Object.values(path).map(({ operationId }) => operationId))
    expect(described.toSorted()).toEqual(Object.keys(api).toSorted())
  })
})

/** `/api/tasks/[id]/index.get.ts` → `GET /api/tasks/{id}`, as Nitro reads it. */
function routeOf(file: string): string {
  const [, path = '', method = ''] = /^(.*)\.(get|post|put|delete)\.ts$/.exec(file) ?? []
  return `${method.toUpperCase()} ${path.replace(/\/index$/, '').replaceAll(/\[(\w+)\]/g, '{$1}')}`
}
