/** Flags of Node for programs of which there are many: small buffers, and few threads. */
export const SMALL_NODE = ['--v8-pool-size=0', '--max-semi-space-size=1']
