import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { allArgs, type Command, globalArgs, isGroup } from '#cli/framework/command.ts'
import { exitCodes } from '#cli/framework/exit-codes.ts'
import { renderHelp } from '#cli/framework/usage.ts'
import { rootCommand } from '#cli/root.ts'
import { listCommands } from './support/commands.ts'

const commands = listCommands()
const leaves = commands.flatMap(({ name, entry }) => (isGroup(entry) ? [] : [{ name, command: entry }]))

describe('usage', () => {
  it('of everything', async () => {
    expect(await renderHelp(rootCommand, ['hakuriver'], false)).toMatchInlineSnapshot(`
      "Customise a container by hand, freeze it, run it everywhere (hakuriver)

      USAGE hakuriver [OPTIONS] docker|docker-shell|env|task|client|run|login|host|runner|init|simulate

      OPTIONS

        --config=<file>    Configuration file; else HAKURIVER_CONFIG, else ~/.hakuriver/config.toml
           --host=<url>    Host to talk to, such as http://10.0.0.1:8000; else the one of the configuration
                 --json    Print the objects of the API as JSON, errors too
             -h, --help    Show this help

      COMMANDS

              docker    Environments on the Host: persistent containers, and the tarballs made of them
        docker-shell    Open a shell in the running container of an environment
                 env    Packaged environments and their versions
                task    Submit commands to nodes, and look after them
              client    The cluster at a glance, and its nodes
                 run    Run a program on this machine for each combination of arguments
               login    Store a token for the Host, after a look whether the Host takes it
                host    Run the Host on this machine
              runner    Run the Runner of this node
                init    Prepare this machine
            simulate    Run a Host with simulated nodes and tasks on this machine, and measure it

      Use hakuriver <command> --help for more information about a command.
      "
    `)
  })

  it('of a command with a command of the user behind it', async () => {
    const submit = leaves.find(({ name }) => name === 'task submit')?.command
    expect(submit && (await renderHelp(submit, ['hakuriver', 'task', 'submit'], false))).toMatchInlineSnapshot(`
      "Submit a command to run in an environment (hakuriver task submit)

      USAGE hakuriver task submit [OPTIONS] --container=<environment> <COMMAND...>

      ARGUMENTS

        COMMAND...    Program and its arguments; %{index}, %{line} and the names of a sweep are replaced by the item's (Required)

      OPTIONS

        --container=<environment>    Environment to run in, NAME or NAME@VERSION; NULL for a plain process without a container (Required)
                --target=<target>    Where to run, HOST[:NUMA][::GPU,GPU], one task for each; without it the Host picks a node (repeatable)
                 --cores=<number>    Cores to reserve and limit to, up to 4096, 1 unless given; 0 reserves nothing and sets no limit
                  --memory=<size>    Memory to reserve and limit to, such as 512M or 24G, 6MiB at least; without it no limit
                  --gpus=<number>    So many GPUs of one node, up to 64
              --gpu-memory=<size>    Least memory of each of them, such as 24G
             --env=<name[=value]>    Environment variable of the task; NAME alone takes the value from here (repeatable)
                --env-file=<file>    File with a variable on each line; where --env has the same one, that counts (repeatable)
           --mount=<src:dst[:ro]>    Directory of the node, seen in the task (repeatable)
               --user=<uid[:gid]>    Whom it runs as; else the Host's default, and without a container the Runner's user
            --workdir=<directory>    Where it begins; else /shared
              --network=<network>    Docker network, such as host, bridge or none; else the Host's default
                     --privileged    Run it privileged
                    --name=<text>    A name for people, up to 256 characters
              --priority=<number>    Higher goes first: -1000 to 1000, 0 unless given
                           --hold    Keep it in the queue until "hakuriver task release ID"
                      --at=<time>    Not before this time, such as 2026-02-03T14:00, 14:00 or now+10m
                     --after=<id>    Only after this task: ok:ID when it has succeeded (also ID alone), any:ID when it has ended, fail:ID when it has ended otherwise (repeatable)
                 --retry=<number>    So many more executions, up to 1000, after one that failed, was lost, or ran out of memory or time
          --time-limit=<duration>    End it as timed_out after so long, such as 90 (seconds), 10m, 1h30m or 1-12:00:00; 366d at most
                  --signal=<name>    What a killed or timed out task gets first; TERM unless given
               --grace=<duration>    How long it then has before KILL, up to 1h; 10s unless given
                --array=<indexes>    A task for each number, such as 1-1000, 1,3,7-9, 0-100:10, or 1-1000%50 for 50 at a time
               --each-line=<file>    A task for each line of a file; - for standard input
             --sweep=<parameters>    A task for each combination, such as 'lr=0.1,0.01 seed=1..10' (repeatable)
              --parallel=<number>    So many tasks of the batch at a time
                           --pack    Items on one node share one warm container: for many short ones
                   --notify=<url>    Where the Host posts the ended task; with --wait also a command, which is run here without a shell
                           --wait    Wait for the end and exit as the task does; shows the output of a single task
                     -f, --follow    As --wait, and show the output of a batch too
                        --dry-run    Tell where each task would run and what has to be loaded there, and store nothing
                     --key=<text>    Submitting again with the same key, of 8 to 64 characters, makes nothing new within a day, and prints the same
                  --config=<file>    Configuration file; else HAKURIVER_CONFIG, else ~/.hakuriver/config.toml
                     --host=<url>    Host to talk to, such as http://10.0.0.1:8000; else the one of the configuration
                           --json    Print the objects of the API as JSON, errors too
                       -h, --help    Show this help

      Everything after "--" is the command, untouched: no shell sees it. Without "--" it begins at the first word that is no option.
      Prints the id of each task on a line, of a batch (--array, --each-line, --sweep) its own; with --wait on standard error, since standard output
      is the task's. With --wait and --json the output is left out: standard output is the ended task as an object, several tasks an array.
      Exit code with --wait: the task's own, the highest of several; 1 where there is none because the task was killed or never began.
      Ctrl-C while it waits asks for a key: d leaves the task alone, k kills it, c goes on waiting. The second time, and where nobody can be asked, the
      task is left alone too.

      Example: hakuriver task submit --container my-env --cores 4 --memory 8G --wait -- python /shared/train.py
               hakuriver task submit --container my-env --sweep 'lr=0.1,0.01 seed=1..10' -- python train.py --lr %{lr} --seed %{seed}
      "
    `)
  })

  it.each(leaves)('of $name names every argument and option', async ({ name, command }) => {
    const text = await renderHelp(command, ['hakuriver', ...name.split(' ')], false)
    for (const [argument, def] of Object.entries(allArgs(command))) {
      expect(text).toContain(def.type === 'positional' ? argument.toUpperCase() : `--${argument}`)
      expect(text).toContain(def.description)
    }
    expect(text).toContain('\nExample: haku')
  })
})

describe('docs/commands.md', () => {
  const text = readFileSync(new URL('../../docs/commands.md', import.meta.url), 'utf8')
  const sections = new Map(text.split(/^#+ /m).map((section) => [section.split('\n')[0]?.replaceAll('`', '') ?? '', section]))

  it('has a section for each command, and for no other', () => {
    const documented = [...sections.keys()].filter((title) => title.startsWith('hakuriver '))
    expect(documented.sort()).toEqual(commands.map(({ name }) => `hakuriver ${name}`).sort())
  })

  it.each(leaves)('$name: each option and argument, and no other', ({ name, command }) => {
    const section = sections.get(`hakuriver ${name}`) ?? ''
    const rows = [...section.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1])
    expect(rows).toEqual(ownRows(command))
  })

  it('the options of every command', () => {
    for (const name of Object.keys(globalArgs)) expect(sections.get('Options of every command')).toContain(`\`--${name}`)
  })

  it('the exit codes', () => {
    const documented = [...(sections.get('Exit codes') ?? '').matchAll(/^\| (\d+) \|/gm)].map((match) => Number(match[1]))
    expect(documented).toEqual(Object.values(exitCodes))
  })
})

/** The first cell of each row of a command's table. */
function ownRows(command: Command): string[] {
  const rows = Object.entries(command.args).map(([name, def]) => {
    if (def.type === 'positional') return optional(def.required === false, `${name.toUpperCase()}${def.multiple ? '…' : ''}`)
    const letter = def.alias ? `-${def.alias}, ` : ''
    return def.type === 'string' ? `${letter}--${name} ${optional(def.implied !== undefined, def.valueHint)}` : `${letter}--${name}`
  })
  return command.rest ? [...rows, `${command.rest.name.toUpperCase()}…`] : rows
}

function optional(isOptional: boolean, text: string): string {
  return isOptional ? `[${text}]` : text
}
