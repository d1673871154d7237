import type { CommandGroup } from '../../framework/command.ts'
import { controlCommand } from './command.ts'
import { explainTask } from './explain.ts'
import { holdTask } from './hold.ts'
import { killTask } from './kill.ts'
import { listTasks } from './list.ts'
import { logsOfTask } from './logs.ts'
import { moveTask } from './move.ts'
import { pauseTask } from './pause.ts'
import { releaseTask } from './release.ts'
import { rerunTask } from './rerun.ts'
import { resumeTask } from './resume.ts'
import { retryTask } from './retry.ts'
import { showTask } from './show.ts'
import { taskStatus } from './status.ts'
import { stderrOfTask } from './stderr.ts'
import { stdoutOfTask } from './stdout.ts'
import { submitTask } from './submit.ts'
import { waitTask } from './wait.ts'

export const taskGroup: CommandGroup = {
  description: 'Submit commands to nodes, and look after them',
  commands: {
    submit: submitTask,
    list: listTasks,
    show: showTask,
    status: taskStatus,
    explain: explainTask,
    logs: logsOfTask,
    stdout: stdoutOfTask,
    stderr: stderrOfTask,
    wait: waitTask,
    kill: killTask,
    pause: pauseTask,
    resume: resumeTask,
    hold: holdTask,
    release: releaseTask,
    move: moveTask,
    rerun: rerunTask,
    retry: retryTask,
    command: controlCommand,
  },
}
