import { HakuError } from '#core/errors.ts'
import { isNodeName, parseEnvironmentReference, quote } from '#core/names.ts'
import { defineCommand } from '../../framework/command.ts'

export const prefetchVersion = defineCommand({
  description: 'Load a version on nodes before a task needs it',
  notes: `Nodes read only the layers that they lack. A node that fails is named, and the others go on.`,
  example: 'hakuriver env prefetch my-env --nodes node1,node2',
  args: {
    name: { type: 'positional', description: 'NAME for the current version, or NAME@VERSION' },
    nodes: { type: 'string', valueHint: 'a,b', description: 'Nodes, separated by commas' },
    all: { type: 'boolean', description: 'All nodes that are online' },
    detach: { type: 'boolean', description: 'Print the id of the operation and do not wait for it' },
  },
  async run({ args }) {
    const { name, version } = parseEnvironmentReference(args.name)
    const nodes = readNodes(args.nodes, args.all)
    const { connect } = await import('../../framework/connection.ts')
    const { followOperation } = await import('../../operations/follow.ts')
    const { client } = connect(args)
    const operation = await client.call('prefetchVersion', { params: { name }, body: { nodes, ...(version !== undefined && { version }) } })
    return followOperation(client, operation, {
      ...args,
      describe: (result) => ('fileName' in result ? `${result.fileName} is on ${args.all ? 'all nodes that are online' : nodes.join(', ')}` : ''),
    })
  },
})

// --- internal ---

/** Nothing stands for all: which nodes are meant is said. */
function readNodes(text: string | undefined, all: boolean): string[] {
  if ((text !== undefined) === all) throw new HakuError('usage.invalid', 'Name the nodes with --nodes a,b, or say --all.')
  const nodes = text?.split(',').map((node) => node.trim()) ?? []
  const wrong = nodes.find((node) => !isNodeName(node))
  if (wrong !== undefined) throw new HakuError('node.name_invalid', `${quote(wrong)} is not a valid node name. Write --nodes a,b.`)
  return nodes
}
