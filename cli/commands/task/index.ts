import type { CommandGroup } from '../../framework/command.ts'
import { controlCommand, holdTask, killTask, pauseTask, releaseTask, resumeTask, retryTask } from './control.ts'
import { listTasks } from './list.ts'
import { moveTask } from './move.ts'
import { logsOfTask, stderrOfTask, stdoutOfTask } from './output.ts'
import { rerunTask } from './rerun.ts'
import { explainTask, showTask, taskStatus } from './show.ts'
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
