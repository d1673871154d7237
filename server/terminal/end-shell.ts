import { setTimeout as delay } from 'node:timers/promises'
import { demultiplex } from '#core/engine/demultiplex.ts'
import type { Engine } from '#core/engine/engine.ts'
import { isHakuError } from '#core/errors.ts'
import { peekExitCode, type Shell } from './shell.ts'

/**
 * Ends a shell that lost its client, and what runs in it, as the end of a login would: all of its session gets SIGHUP. The
 * shell itself and its foreground programs that are still there after a grace time get SIGKILL; a background program that ignores SIGHUP
 * (`nohup`) was meant to stay. Nobody else's processes are touched.
 *
 * Idempotent. A container that stopped or went away has ended its shells already.
 */
export async function endShell(engine: Pick<Engine, 'exec'>, containerId: string, shell: Shell): Promise<void> {
  try {
    // After its end the pid may belong to somebody else.
    if ((await peekExitCode(shell.session)) !== undefined) return
    const { foreground } = await signal(engine, containerId, shell, 'HUP', shell.pid)
    for (const deadline = Date.now() + GRACE_MS; Date.now() < deadline; await delay(POLL_MS)) {
      const { left } = await signal(engine, containerId, shell, '0', foreground)
      if (left === 0) return
    }
    await signal(engine, containerId, shell, 'KILL', foreground)
  } catch (error) {
    if (!isHakuError(error, 'container.not_running', 'container.not_found', 'engine.not_found')) throw error
  }
}

// --- internal ---

/** Editors save what was not saved when they get SIGHUP. */
const GRACE_MS = 1500
const POLL_MS = 150

/**
 * Arguments: shell (its pid is the id of its session), its foreground process group, signal. Uses only what is built into a
 * shell. A program's name in `stat` may hold anything, so fields count from the last parenthesis: state, parent, group, session, terminal,
 * foreground group. Zombies do not count. Prints the foreground group and how many processes were meant.
 */
const SIGNAL_SCRIPT = `
shell=$1 foreground=$2 signal=$3 count=0
for stat in /proc/[0-9]*/stat; do
  { read -r line < "$stat"; } 2>/dev/null || continue
  pid=\${stat#/proc/} pid=\${pid%/stat}
  set -- \${line##*) }
  [ "$4" = "$shell" ] && [ "$1" != Z ] || continue
  if [ "$signal" = HUP ]; then
    [ "$pid" = "$shell" ] && [ "$6" -gt 0 ] && foreground=$6
  elif [ "$3" != "$shell" ] && [ "$3" != "$foreground" ]; then
    continue
  fi
  kill -"$signal" "$pid" 2>/dev/null && count=$((count + 1))
done
echo "$foreground $count"
`

async function signal(engine: Pick<Engine, 'exec'>, containerId: string, shell: Shell, name: 'HUP' | '0' | 'KILL', foreground: string): Promise<{ foreground: string; left: number }> {
  const { stream } = await engine.exec(containerId, { command: [shell.interpreter, '-c', SIGNAL_SCRIPT, 'sh', shell.pid, foreground, name], tty: false })
  let output = ''
  for await (const { bytes } of demultiplex(stream)) output += bytes.toString('latin1')
  stream.destroy()
  const groups = /^(?<foreground>\d+) (?<left>\d+)\n$/.exec(output)?.groups
  if (!groups?.['foreground']) throw new Error(`the processes of a shell could not be signalled: ${output}`)
  return { foreground: groups['foreground'], left: Number(groups['left']) }
}
