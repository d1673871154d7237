import type { CommandGroup } from '../../framework/command.ts'
import { deleteVersions } from './delete.ts'
import { diffVersions } from './diff.ts'
import { exportVersion } from './export.ts'
import { forkEnvironment } from './fork.ts'
import { importVersion } from './import.ts'
import { listEnvironments } from './list.ts'
import { logVersions } from './log.ts'
import { pinVersion } from './pin.ts'
import { prefetchVersion } from './prefetch.ts'
import { rollbackEnvironment } from './rollback.ts'
import { showVersion } from './show.ts'
import { unpinVersion } from './unpin.ts'
import { verifyVersion } from './verify.ts'

export const envGroup: CommandGroup = {
  description: 'Packaged environments and their versions',
  commands: {
    list: listEnvironments,
    show: showVersion,
    log: logVersions,
    diff: diffVersions,
    rollback: rollbackEnvironment,
    delete: deleteVersions,
    pin: pinVersion,
    unpin: unpinVersion,
    verify: verifyVersion,
    export: exportVersion,
    import: importVersion,
    fork: forkEnvironment,
    prefetch: prefetchVersion,
  },
}
