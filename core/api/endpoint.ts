import type { Readable } from 'node:stream'
import type { z } from 'zod'
import type { ErrorCode } from '../errors.ts'

/**
 * Who may call: `public` needs no credential; `admin` a user's, `runner` a Runner's, `host` the Host's (on a Runner), `neighbour` a ticket for this
 * one path that the Host has issued to another Runner.
 */
export type Role = 'public' | 'admin' | 'runner' | 'host' | 'neighbour'

type ObjectSchema = z.ZodType<Record<string, unknown>>

/** One HTTP or WebSocket entry of the contract. */
export interface Endpoint {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Path with `{name}` parameters. */
  path: `/${string}`
  summary: string
  role: Role
  params?: ObjectSchema
  query?: ObjectSchema
  body?: z.ZodType
  /** Instead of `body`: the content types of a body that is handed on as it comes. Needs {@link maxBodyBytes}. */
  upload?: readonly string[]
  response: ResponseShape
  /** What it may answer beyond the errors that every endpoint shares. */
  errors: readonly ErrorCode[]
  /** Largest body in bytes; 1 MiB unless said otherwise. */
  maxBodyBytes?: number
}

export type ResponseShape =
  | { status: 200 | 201 | 202; body: z.ZodType }
  | { status: 204 }
  /** Bytes as they come. */
  | { status: 200; stream: 'application/octet-stream' | 'application/x-tar' | 'text/event-stream' | 'application/json' }
  | { status: 101; socket: string }

/** Keeps the literal types. */
export function defineEndpoints<const T extends Record<string, Endpoint>>(endpoints: T): T {
  return endpoints
}

/** What a handler gets: everything parsed. */
export interface EndpointInput<E extends Endpoint> {
  params: E['params'] extends z.ZodType ? z.output<E['params']> : Record<string, never>
  query: E['query'] extends z.ZodType ? z.output<E['query']> : Record<string, never>
  body: E['body'] extends z.ZodType ? z.output<E['body']> : undefined
  upload: E['upload'] extends readonly string[] ? Readable : undefined
}

/** What a client gives: before defaults are filled in. */
export type EndpointRequest<E extends Endpoint> = (E['params'] extends z.ZodType ? { params: z.input<E['params']> } : unknown) &
  (E['query'] extends z.ZodType ? { query?: z.input<E['query']> } : unknown) &
  (E['body'] extends z.ZodType ? { body: z.input<E['body']> } : unknown) &
  (E['upload'] extends readonly string[] ? { upload: Readable } : unknown)

/** What comes back. */
export type EndpointOutput<E extends Endpoint> = E['response'] extends { body: infer B extends z.ZodType } ? z.output<B> : void
