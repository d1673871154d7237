import { hostname } from 'node:os'
import { z } from 'zod'
import { homePaths } from '../paths.ts'
import { isSize } from '../tasks/sizes.ts'
import { isEndpoint, parseS3Url } from '../tarballs/drivers/s3-url.ts'

const port = z.int().min(1).max(65_535)
const absolutePath = z.string().startsWith('/', 'must be an absolute path')
const mountRoots = z.array(absolutePath)

/**
 * The configuration of a Host, a Runner and the command line: one file for all, `config.toml`. Section and key names are
 * those of HakuRiver 0.3 where they mean the same. The table in the README is checked against this schema.
 */
export const configSchema = z.strictObject({
  network: z.strictObject({
    host_bind_ip: z.string().default('127.0.0.1').describe('Address the Host listens on; `0.0.0.0` for all'),
    host_port: port.default(8000).describe('Port of the Host'),
    host_reachable_address: z.string().default('127.0.0.1').describe('Address under which Runners and clients reach the Host'),
    runner_address: z.string().default('127.0.0.1').describe('Address under which the Host reaches this Runner'),
    runner_bind_ip: z.string().default('').describe('Address the Runner listens on; empty: `runner_address`'),
    runner_port: port.default(8001).describe('Port of the Runner'),
    allowed_hosts: z.array(z.string()).default([]).describe('More names by which clients may call the Host or Runner'),
  }).prefault({}),
  paths: z.strictObject({
    shared_dir: absolutePath.default(() => homePaths().shared).describe('Shared directory (NFS), mounted on the Host and every node; must exist'),
    state_dir: absolutePath.default(() => homePaths().state).describe('Local directory for state and tokens'),
    local_temp_dir: absolutePath.default('/tmp/hakuriver').describe('Local directory of a node, seen in tasks as `/local_temp`'),
  }).prefault({}),
  storage: z.strictObject({
    url: z.string().refine((url) => url === '' || parseS3Url(url) !== undefined, 'must be s3://bucket/prefix, or empty').default('').describe('Where tarballs are: `s3://bucket/prefix`, keys from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` in the environment; empty: `docker.container_dir`'),
    endpoint: z.string().refine((endpoint) => endpoint === '' || isEndpoint(endpoint), 'must be http://address:port or https://address:port').default('').describe('Address of the S3 server; empty: AWS'),
    region: z.string().regex(/^[\w-]+$/, 'must be the name of a region').default('us-east-1').describe('Region of the bucket'),
    path_style: z.boolean().default(true).describe('With `endpoint`: the bucket stands in the path, not in the host name'),
  }).prefault({}),
  docker: z.strictObject({
    socket: absolutePath.default('/var/run/docker.sock').describe('Socket of the Docker Engine'),
    container_dir: z.string().regex(/^[\w.-]+$/, 'must be one directory name').default('hakuriver-containers').describe('Directory of the tarballs, below `shared_dir`'),
    keep_versions: z.int().min(1).default(1).describe('Versions of each environment that packaging leaves'),
    image_cache_limit: z.string().refine((text) => text === '' || isSize(text), 'must be a size such as 50G, or empty').default('').describe('What the images of environments may take on a node, such as `50G`: the least recently used go first; empty: no limit'),
    network: z.string().default('host').describe('Docker network of tasks: `host`, `bridge`, `none` or the name of one'),
    tasks_privileged: z.boolean().default(false).describe('Run every task privileged'),
    allow_privileged: z.boolean().default(false).describe('Users may run tasks privileged (`--privileged`)'),
    default_user: z.string().regex(/^(?:\d{1,10}(?::\d{1,10})?)?$/, 'must be UID or UID:GID, or empty').default('').describe('As whom tasks in containers run, `UID[:GID]`, unless they say it themselves; empty: the user of the image'),
    allowed_networks: z.array(z.string()).default(['host', 'bridge', 'none']).describe('Networks that users may ask for, beside `network`'),
    cpu_limit: z.enum(['quota', 'cpuset']).default('quota').describe('How the cores of a task limit it: `quota`, a share of the time of all CPUs, or `cpuset`, CPUs of its own'),
    gpu_driver: z.enum(['auto', 'nvidia', 'cdi']).default('auto').describe('How a node asks its Engine for GPUs: `nvidia` (NVIDIA Container Toolkit), `cdi`, or `auto`: `cdi` if the Engine has descriptions of GPUs'),
    additional_mounts: z.array(z.string()).default([]).describe('Mounts of every task, `SRC:DST[:ro]`'),
    allowed_mounts: mountRoots.default([]).describe('Directories below which users may ask for mounts'),
  }).prefault({}),
  logs: z.strictObject({
    max_bytes: z.string().refine((text) => text === '' || isSize(text), 'must be a size such as 1G, or empty').default('1G').describe('What an execution of a task may print to each of its two outputs, such as `1G`; the rest is cut off, with a mark. Empty: no limit'),
    keep_days: z.int().min(0).max(36_500).default(0).describe('Days for which outputs are kept after the end of their task; 0: for ever'),
  }).prefault({}),
  timing: z.strictObject({
    heartbeat_interval: z.number().min(0.1).max(600).default(5).describe('Seconds between two heartbeats'),
    heartbeat_timeout_factor: z.number().min(2).default(6).describe('A node is offline after so many intervals of silence'),
  }).prefault({}),
  database: z.strictObject({
    db_file: z.string().default('').describe('SQLite file of the Host; empty: `host.db` in `state_dir`'),
  }).prefault({}),
  runner: z.strictObject({
    hostname: z.string().default(() => hostname()).describe('Name of this node'),
    plain_processes: z.boolean().default(false).describe('Take tasks without a container (`--container NULL`)'),
    share_layers: z.boolean().default(false).describe('Get layers from other nodes where they have them, and give them to others'),
    share_layers_limit: z.string().refine(isSize, 'must be a size such as 20G').default('20G').describe('Space in `state_dir` for layers to give to others; the least recently used go first'),
  }).prefault({}),
  auth: z.strictObject({
    token_file: z.string().default('').describe('File with the token to show: `admin.token` for people, `runner.token` for a Runner; empty: the one in `state_dir`'),
  }).prefault({}),
})
export type Config = z.infer<typeof configSchema>
