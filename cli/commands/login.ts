import { HakuError } from '#core/errors.ts'
import { defineCommand } from '../framework/command.ts'
import { printLine } from '../framework/output.ts'

export const login = defineCommand({
  description: 'Store a token for the Host, after a look whether the Host takes it',
  notes: 'The token is asked for, or read from standard input when that is no terminal. It goes to ~/.hakuriver/credentials.json, readable for you alone.',
  example: 'hakuriver login --host http://10.0.0.1:8000',
  args: {},
  async run({ args }) {
    const { createConnection, resolveHost } = await import('../framework/connection.ts')
    const { readSecret } = await import('../framework/secret.ts')
    const { storeCredential } = await import('../framework/credentials.ts')
    const { url } = resolveHost(args)
    const token = await readSecret(`Token for ${url}: `)
    // The token goes into a header as it is.
    if (!/^[\x21-\x7E]+$/.test(token)) throw new HakuError('usage.invalid', 'That is not a token. The Host writes one to admin.token in its state directory.')
    await createConnection(url, token).call('listNodes', {})
    storeCredential(url, token)
    await printLine(`Logged in to ${url}`)
  },
})
