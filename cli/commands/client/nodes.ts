import type { Node } from '#core/api/schemas.ts'
import { defineCommand } from '../../framework/command.ts'
import type { ConnectionArgs, HostClient } from '../../framework/connection.ts'
import { printJson, printLine, printObjects } from '../../framework/output.ts'
import { describeNode, formatNodes } from './format-nodes.ts'

const names = { node: { type: 'positional', multiple: true, description: 'Names of nodes' } } as const

export const nodes = defineCommand({
  description: 'List the nodes with their resources',
  notes: `Resources: those that are reserved, of those that there are.`,
  example: 'hakuriver client nodes --json',
  args: {},
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { items } = await connect(args).client.call('listNodes', {})
    await (args.json ? printJson(items) : printLine(formatNodes(items)))
  },
})

export const showNode = defineCommand({
  description: 'Show all about nodes: GPUs, NUMA nodes, versions that they hold',
  example: 'hakuriver client node node1',
  args: names,
  async run({ args }) {
    const { results, code } = await forNodes(args, (client, hostname) => client.call('getNode', { params: { hostname } }))
    if (args.json) await printObjects(results, args.node.length)
    else if (results.length > 0) await printLine(results.map(describeNode).join('\n\n'))
    return code
  },
})

export const drainNode = defineCommand({
  description: 'Give nodes no more tasks; those they have go on',
  example: 'hakuriver client drain node1 --reason "new disk on Monday"',
  args: { ...names, reason: { type: 'string', valueHint: 'text', description: 'Why: "client node" and "task explain" show it. Without it the reason that a node has stays' } },
  run: ({ args }) => changeNodes(args, (client, hostname) => client.call('drainNode', { params: { hostname }, body: { reason: args.reason } })),
})

export const undrainNode = defineCommand({
  description: 'Give nodes tasks again',
  example: 'hakuriver client undrain node1',
  args: names,
  run: ({ args }) => changeNodes(args, (client, hostname) => client.call('undrainNode', { params: { hostname } })),
})

export const removeNode = defineCommand({
  description: 'Forget nodes that are offline; tasks that they still had are lost',
  notes: `A node whose Runner comes back is known again.`,
  example: 'hakuriver client remove node1',
  args: names,
  async run({ args }) {
    const { results, code } = await forNodes(args, async (client, hostname) => {
      await client.call('removeNode', { params: { hostname } })
      if (!args.json) await printLine(`${hostname} Removed`)
      return { hostname }
    })
    if (args.json) await printObjects(results, args.node.length)
    return code
  },
})

// --- internal ---

type NodesArgs = ConnectionArgs & { node: readonly string[]; json: boolean }

async function forNodes<T>(args: NodesArgs, work: (client: HostClient, hostname: string) => Promise<T>): Promise<{ results: T[]; code: number }> {
  const { connect } = await import('../../framework/connection.ts')
  const { tryAll } = await import('../../framework/try-all.ts')
  const { client } = connect(args)
  return tryAll(args.node, { program: 'hakuriver client', json: args.json }, (hostname) => work(client, hostname))
}

async function changeNodes(args: NodesArgs, change: (client: HostClient, hostname: string) => Promise<Node>): Promise<number> {
  const { results, code } = await forNodes(args, change)
  if (args.json) await printObjects(results, args.node.length)
  else if (results.length > 0) await printLine(formatNodes(results))
  return code
}
