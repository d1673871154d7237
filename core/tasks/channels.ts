/** Where a program prints. */
export const outputChannels = ['stdout', 'stderr'] as const
export type OutputChannel = (typeof outputChannels)[number]
