import type { NitroConfig } from 'nitropack'

export const nitroOptions: NitroConfig
