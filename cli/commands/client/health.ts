import type { Health, Node } from '#core/api/schemas.ts'
import { defineCommand } from '../../framework/command.ts'
import type { HostClient } from '../../framework/connection.ts'
import { exitCodes } from '../../framework/exit-codes.ts'
import { printJson, printLine, tell } from '../../framework/output.ts'
import { formatNodes } from './format-nodes.ts'

export const health = defineCommand({
  description: 'Tell whether the Host and its nodes work',
  notes: 'Exit code 1 when the Host has a problem or a node is offline.',
  example: 'hakuriver client health',
  args: { hostname: { type: 'positional', required: false, description: 'Only this node' } },
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { client } = connect(args)
    return args.hostname === undefined ? reportAll(client, args.json) : reportNode(client, args.hostname, args.json)
  },
})

// --- internal ---

async function reportAll(client: HostClient, json: boolean): Promise<number> {
  const [host, { items: nodes }] = await Promise.all([client.call('getHealth', {}), client.call('listNodes', {})])
  await (json ? printJson({ host, nodes }) : printLine(`${describeHost(host)}\n\n${formatNodes(nodes)}`))
  if (!json) for (const problem of host.problems) tell(problem.detail)
  return host.status === 'ok' && nodes.every(isOnline) ? exitCodes.ok : exitCodes.failed
}

async function reportNode(client: HostClient, hostname: string, json: boolean): Promise<number> {
  const node = await client.call('getNode', { params: { hostname } })
  await (json ? printJson(node) : printLine(formatNodes([node])))
  return isOnline(node) ? exitCodes.ok : exitCodes.failed
}

function describeHost({ status, version }: Health): string {
  return `Host: ${status}, HakuRiver ${version}`
}

function isOnline(node: Node): boolean {
  return node.state === 'online'
}
