import type { CommandGroup } from '../../framework/command.ts'
import { controlCommand, killTask, pauseTask, resumeTask } from './control.ts'
import { listTasks } from './list.ts'
import { stderrOfTask, stdoutOfTask } from './output.ts'
import { taskStatus } from './status.ts'
import { submitTask } from './submit.ts'
import { waitTask } from './wait.ts'

export const taskGroup: CommandGroup = {
  description: 'Submit commands to nodes, and look after them',
  commands: {
    submit: submitTask,
    list: listTasks,
    status: taskStatus,
    wait: waitTask,
    stdout: stdoutOfTask,
    stderr: stderrOfTask,
    kill: killTask,
    pause: pauseTask,
    resume: resumeTask,
    command: controlCommand,
  },
}
