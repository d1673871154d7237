/** Shapes on the wire, by subject. Times are ISO 8601 UTC, sizes are bytes, ids are strings that sort by time. */
export * from './schemas/common.ts'
export * from './schemas/containers.ts'
export * from './schemas/environments.ts'
export * from './schemas/operations.ts'
export * from './schemas/nodes.ts'
export * from './schemas/sync.ts'
export * from './schemas/tasks.ts'
export * from './schemas/dispatch.ts'
