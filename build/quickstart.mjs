// `npm run quickstart`: from nothing to the guide's Example Workflow on this machine. `-- --stop` ends what it left running.
import { existsSync, mkdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { whyNoAnswer } from './engine-api.mjs'
import { EngineSetupError, provideEngine } from './engine-setup.mjs'
import { isBuildFresh } from './freshness.mjs'
import { configFile, directory, freePort, isHostReady, isNodeOnline, logFile, NODE_NAME, QuickstartError, readConfig, root, servicePid, startService, stopService, writeConfig } from './quickstart/services.mjs'

const USAGE = 'Usage: npm run quickstart            start a Host and a Runner, and run the example workflow\n       npm run quickstart -- --stop  end both'

process.exit(await main(process.argv.slice(2)))

async function main(parameters) {
  try {
    if (parameters.length === 0) await start()
    else if (parameters.length === 1 && parameters[0] === '--stop') await stop()
    else if (parameters.length === 1 && ['--help', '-h'].includes(parameters[0])) console.log(USAGE)
    else return usageError(parameters)
    return 0
  } catch (error) {
    console.error(`\nquickstart: ${explain(error)}`)
    if (existsSync(directory)) console.error(`Logs are in ${relative(process.cwd(), directory) || '.'}: ${['host', 'runner', 'dockerd'].map((name) => `${name}.log`).join(', ')} (those that were started).`)
    return 1
  }
}

async function start() {
  assertNode()
  const { socketPath: socket } = await engine()
  mkdirSync(directory, { recursive: true })
  const isRebuilt = await build()
  const settings = await configure(socket, isRebuilt)
  await services(settings)
  const { runWorkflow } = await import('./quickstart/workflow.mjs')
  await runWorkflow({ socket, say })
  farewell(settings)
}

async function stop() {
  for (const service of ['runner', 'host']) say(await stopService(service))
}

/** The Engine of an earlier run if it still answers, else one that is found or made. */
async function engine() {
  const earlier = (await readConfig())?.socket
  if (earlier && !process.env.DOCKER_HOST && !(await whyNoAnswer(earlier))) return { socketPath: earlier }
  const provided = await provideEngine({ log: say, logFile: join(directory, 'dockerd.log') })
  say(`Docker Engine at ${provided.socketPath}${provided.stop ? ', started now; it goes on running' : ''}`)
  return provided
}

/** Builds if anything changed. Resolves to whether it did. */
async function build() {
  if (isBuildFresh(root)) return false
  say('Building HakuRiver')
  const { buildAll } = await import('./build.mjs')
  await buildAll({ log: () => {} })
  return true
}

/** Settles ports and writes the configuration; services of another build or Engine end. */
async function configure(socket, isRebuilt) {
  const earlier = await readConfig()
  const isChanged = isRebuilt || earlier?.socket !== socket
  for (const service of ['runner', 'host']) if (isChanged && servicePid(service)) say(`${await stopService(service)}, to start it anew`)
  const hostPort = servicePid('host') ? earlier.hostPort : await freePort(earlier?.hostPort, 8000)
  const runnerPort = servicePid('runner') ? earlier.runnerPort : await freePort(earlier?.runnerPort, 8001)
  const settings = { socket, hostPort, runnerPort }
  // A Runner finds its Host by the port in the file.
  if (earlier && earlier.hostPort !== hostPort && servicePid('runner')) say(await stopService('runner'))
  await writeConfig(settings)
  return settings
}

async function services(settings) {
  const address = { host: `http://127.0.0.1:${settings.hostPort}`, runner: `http://127.0.0.1:${settings.runnerPort}` }
  const isReady = { host: () => isHostReady(settings), runner: () => isNodeOnline(settings) }
  for (const service of ['host', 'runner']) {
    const running = servicePid(service)
    const pid = running ?? (await startService(service, isReady[service]))
    say(`hakuriver.${service} ${running ? 'runs' : 'has started'}: ${address[service]} (process ${pid}, log ${relative(root, logFile(service))})`)
  }
  say(`node ${NODE_NAME} is online`)
}

function farewell(settings) {
  console.log(`
The Host and the Runner go on running. To go on with them:

  export PATH=${join(root, 'dist/bin')}:$PATH HAKURIVER_CONFIG=${configFile}
  hakuriver.docker list-tars
  hakuriver.docker-shell python-data-science
  hakuriver.task submit --container python-data-science --wait -- cat /etc/os-release

The Host is http://127.0.0.1:${settings.hostPort}. To stop both: npm run quickstart -- --stop`)
}

function usageError(parameters) {
  console.error(`quickstart: ${parameters.join(' ')} is not understood.\n${USAGE}`)
  return 2
}

function assertNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) throw new QuickstartError(`HakuRiver needs Node 20.19 or newer; this is Node ${process.versions.node}.`)
}

function explain(error) {
  if (error instanceof QuickstartError || error instanceof EngineSetupError) return error.message
  if (error?.code === 'ERR_MODULE_NOT_FOUND') return `${error.message.split(' imported from')[0]}. Run "npm ci" first.`
  // The system refused something; its words name what and where.
  if (error?.syscall) return error.message
  return error?.stack ?? String(error)
}

function say(line) {
  console.log(`[quickstart] ${line}`)
}
