// The guide's Example Workflow, through the commands that a user types.
import { spawn } from 'node:child_process'
import { createReadStream, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { callEngine, hasImage, importImage } from '../engine-api.mjs'
import { provideDebianArchive } from '../images.mjs'
import { environment, NODE_NAME, QuickstartError, root, sharedDir } from './services.mjs'

const ENVIRONMENT = 'python-data-science'
const PYTHON_IMAGE = 'python:3.9-slim'
const MADE_IMAGE = 'hakuriver-quickstart-base:latest'

const PIP = ['pip install --no-cache-dir numpy']
const APT = ['apt-get update -q', 'apt-get install -y -q --no-install-recommends python3 python3-numpy', 'apt-get clean']
const CHECK = `python3 -c 'import numpy; print("numpy", numpy.__version__, "is installed")'`
/** Where packages can not be reached from inside a container: a program of its own. */
const BY_HAND = [
  `printf '%s\\n' '#!/usr/bin/awk -f' '{ sum += $1; squares += $1 * $1 }' 'END { print "mean " sum / NR ", variance " squares / NR - (sum / NR) ^ 2 }' > /usr/local/bin/summary`,
  'chmod +x /usr/local/bin/summary',
]

const ANALYSES = {
  'analyze_data.py': `import numpy

samples = numpy.random.default_rng(seed=1).normal(loc=20, scale=2, size=100_000)
print(f'numpy {numpy.__version__} out of the packaged environment')
print(f'{samples.size} samples: mean {samples.mean():.2f}, deviation {samples.std():.2f}')
`,
  'analyze_data.sh': `echo 'the program summary out of the packaged environment'
printf '%s\\n' 18 19 20 21 22 | summary
`,
}

/** Runs the four steps; what was done by an earlier run is left as it is. @throws QuickstartError if one fails */
export async function runWorkflow({ socket, say }) {
  const before = await readState()
  const image = before.image ?? (await chooseImage(socket, say))
  await command('hakuriver.docker', ['create-container', '--if-not-exists', image, ENVIRONMENT])
  if (before.isPackaged) {
    say(`${ENVIRONMENT} is packaged already: the container and its version stay as they are.`)
  } else {
    if (before.image && !before.isRunning) await command('hakuriver.docker', ['start-container', ENVIRONMENT])
    await customize(image, say)
    await command('hakuriver.docker', ['create-tar', ENVIRONMENT])
  }
  const interpreter = existsSync(scriptFile('analyze_data.py')) ? ['python3', '/shared/analyze_data.py'] : ['sh', '/shared/analyze_data.sh']
  await command('hakuriver.task', ['submit', '--target', NODE_NAME, '--container', ENVIRONMENT, '--wait', '--', ...interpreter])
}

// --- internal ---

/** What an earlier run has left: the image its container was made from, and whether there is a version. */
async function readState() {
  const containers = JSON.parse(await capture('hakuriver.docker', ['list-containers', '--json']))
  const tars = JSON.parse(await capture('hakuriver.docker', ['list-tars', '--json']))
  const container = containers.find(({ name }) => name === ENVIRONMENT)
  return { image: container?.image, isRunning: container?.status === 'running', isPackaged: tars.some(({ name }) => name === ENVIRONMENT) }
}

/** Step 2, and the script for step 4 that fits what could be installed. */
async function customize(image, say) {
  const isInstalled = await typeInto(ENVIRONMENT, [...(image === PYTHON_IMAGE ? PIP : APT), CHECK])
  if (!isInstalled) {
    say('No packages could be installed in the container, so something is written by hand. (Does its network have a way out?)')
    if (!(await typeInto(ENVIRONMENT, BY_HAND))) throw new QuickstartError('hakuriver.docker-shell failed.')
  }
  const script = isInstalled ? 'analyze_data.py' : 'analyze_data.sh'
  if (!existsSync(scriptFile(script))) writeFileSync(scriptFile(script), ANALYSES[script])
}

/** Types lines into a shell in the container. Resolves to whether all of them worked. */
async function typeInto(environmentName, lines) {
  const code = await show('hakuriver.docker-shell', [environmentName], ['set -e', ...lines, 'exit'])
  return code === 0
}

function scriptFile(name) {
  return join(sharedDir, 'shared_data', name)
}

/** The guide's base image where a registry has it, else one made here. */
async function chooseImage(socket, say) {
  if ((await hasImage(socket, PYTHON_IMAGE)) || (await isInRegistry(socket))) return PYTHON_IMAGE
  say(`No registry answers for ${PYTHON_IMAGE}, so a base image is made on this machine: ${MADE_IMAGE}`)
  if (!(await hasImage(socket, MADE_IMAGE))) await makeImage(socket, say)
  return MADE_IMAGE
}

async function makeImage(socket, say) {
  try {
    await importImage(socket, createReadStream(await provideDebianArchive({ log: say })), MADE_IMAGE, ['CMD ["/bin/bash"]'])
  } catch (error) {
    throw new QuickstartError(`There is no base image: no registry answers for ${PYTHON_IMAGE}, and none could be made here. ${error.message}`, { cause: error })
  }
}

async function isInRegistry(socket) {
  try {
    const { status } = await callEngine(socket, 'GET', `/distribution/${PYTHON_IMAGE}/json`, { timeoutMs: 20_000 })
    return status === 200
  } catch {
    // Silence is an answer: the registry can not be reached.
    return false
  }
}

async function command(name, parameters) {
  const code = await show(name, parameters)
  if (code !== 0) throw new QuickstartError(`${name} ended with ${code}.`)
}

/** Runs a command as a user would, showing it. `typed` goes to its standard input. Resolves to its exit code. */
async function show(name, parameters, typed) {
  console.log(`\n$ ${[name, ...parameters].map(shellWord).join(' ')}`)
  for (const line of typed ?? []) console.log(`# ${line}`)
  const child = spawn(join(root, 'dist/bin', name), parameters, { stdio: [typed ? 'pipe' : 'ignore', 'inherit', 'inherit'], env: environment() })
  child.stdin?.on('error', () => {}) // A shell that ends early says so by its exit code.
  child.stdin?.end(typed?.map((line) => `${line}\n`).join(''))
  return ended(child)
}

async function capture(name, parameters) {
  const child = spawn(join(root, 'dist/bin', name), parameters, { stdio: ['ignore', 'pipe', 'inherit'], env: environment() })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => (output += chunk))
  const code = await ended(child)
  if (code !== 0) throw new QuickstartError(`${name} ${parameters.join(' ')} ended with ${code}.`)
  return output
}

function ended(child) {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? signal))
  })
}

function shellWord(word) {
  return /^[\w./:=@-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}
