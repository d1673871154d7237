import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { submitBody } from '#core/api/schemas.ts'
import { configSchema } from '#core/config/schema.ts'
import { createGroupWriter } from '#core/database/group-writer.ts'
import { openDatabase } from '#core/database/open.ts'
import { sharedPaths } from '#core/paths.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { createDeletions } from '#server/environments/deletions.ts'
import { createDiffs } from '#server/environments/diff/diff.ts'
import { createExports } from '#server/environments/exports.ts'
import { createVersionMarks } from '#server/environments/marks.ts'
import { createRollbacks } from '#server/environments/rollback.ts'
import { createTrials } from '#server/environments/trial.ts'
import { createVerifications } from '#server/environments/verifications.ts'
import { createVersions } from '#server/environments/versions.ts'
import { createNodes } from '#server/nodes/nodes.ts'
import { createOperations } from '#server/operations/operations.ts'
import { createOutput } from '#server/output/output.ts'
import { createTaskStore } from '#server/queue/task-store.ts'
import { taskRules } from '#server/queue/task-rules.ts'
import { createTasks } from '#server/queue/tasks.ts'
import { createNodeModel } from './node-model.ts'

/** The services of a Host for versions and tasks, over a directory and a model of the nodes: everything that needs no Engine. */
export async function createHostServices(directory: string) {
  const paths = sharedPaths(directory, 'tarballs')
  for (const path of [paths.tarballs, paths.outputs, paths.errors]) mkdirSync(path, { recursive: true })
  writeFileSync(paths.mark, '')
  const tarballs = createFileSystemStore({ directory: paths.tarballs, ownerId: 'test' })
  const database = await openDatabase<Tables>(join(directory, 'host.db'), migrations)
  const operations = createOperations(database)
  const nodes = await createNodes({ database, heartbeatSeconds: 5, timeoutFactor: 6 })
  const writer = createGroupWriter(join(directory, 'host.db'))
  const store = await createTaskStore({ database, writer })
  const marks = await createVersionMarks(database)
  const nodesWith = (environment: string, version: number) => nodes.list().filter(({ images }) => images.some((image) => image.environment === environment && image.version === version)).map(({ hostname }) => hostname)
  const versions = createVersions({ tarballs, marks, keepVersions: 1, unfinishedTasks: store.unfinishedOf, nodesWith })
  const verifications = createVerifications({ operations, tarballs, versions, marks })
  const node = createNodeModel()
  const tasks = createTasks({ store, nodes, versions, marks, verifications, dispatcher: node.dispatcher, rules: taskRules(configSchema.parse({})) })
  const output = createOutput({ tasks: store, paths, nodes, dispatcher: node.dispatcher, keepDays: 0 })
  return {
    paths, tarballs, database, operations, nodes, store, marks, versions, verifications, node, tasks, output,
    rollbacks: createRollbacks({ operations, tarballs, versions, marks }),
    deletions: createDeletions({ operations, versions, tasks }),
    diffs: createDiffs({ tarballs, versions, marks }),
    exports: createExports({ tarballs, versions, marks }),
    trials: createTrials({ tasks, output, versions, marks }),
    register: (hostname: string) => nodes.register({ hostname, url: `http://127.0.0.1:1/${hostname}`, instanceId: hostname, hostToken: 'x'.repeat(32), hardware: { cores: 4, memoryBytes: 1e9, numaNodes: [], gpus: [], plainProcesses: false }, engine: null, runnerVersion: '1' }),
    submit: async (environment: string, version?: number) => {
      const { tasks: [task] } = await tasks.submit(submitBody.parse({ command: ['true'], environment, version }))
      if (!task) throw new Error('no task')
      return task
    },
    async close() {
      await operations.close()
      await verifications.close()
      tasks.close()
      nodes.close()
      store.close()
      writer.close()
      await database.destroy()
    },
  }
}
export type HostServices = Awaited<ReturnType<typeof createHostServices>>
