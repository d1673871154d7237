import packageJson from '../package.json' with { type: 'json' }

/** The version of this HakuRiver. */
export const { version } = packageJson
