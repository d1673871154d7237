import type { Duplex, Readable } from 'node:stream'
import type { Mount } from '../tasks/mounts.ts'

/** One door to a Docker Engine. Implemented over the Engine API in `docker.ts`; nobody else talks to a Docker socket. */

export interface EngineInfo {
  version: string
  /** `overlay2`, …; for the containerd image store the name of its snapshotter. */
  storageDriver: string
  /** Image ids are manifest digests, and layers may be compressed. */
  usesContainerdStore: boolean
  /** Owners of files on its disk are not those that containers see (user namespaces, rootless). */
  mapsUsers: boolean
  /** Where it looks for the devices that CDI knows; empty where it knows nothing of CDI. */
  cdiDirectories: string[]
  architecture: string
  cores: number
  memoryBytes: number
}

export type ContainerStatus = 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead'

export interface ContainerSummary {
  id: string
  name: string
  /** The reference it was created from. */
  image: string
  status: ContainerStatus
  /** ISO 8601 UTC. */
  created: string
  labels: Record<string, string>
}

export interface ContainerDetails extends ContainerSummary {
  /** Id of the image, whatever its tags are now. */
  imageId: string
  hostname: string
  /** `NAME=value`, those of the image too. */
  env: string[]
  /** Directory on the Engine's machine with what the container changed, where the storage driver has one. */
  upperDir: string | undefined
  exitCode: number
  /** How often the Engine has started it again by itself. */
  restartCount: number
  outOfMemory: boolean
  /** The Engine's own words on why it did not start; empty if it did. */
  error: string
  /** Of its main process, as the Engine's machine counts; 0 while it does not run. */
  pid: number
  started: string | null
  finished: string | null
}

export interface ContainerSpec {
  name: string
  /** Reference or id. Never pulled. */
  image: string
  /** argv; replaces ENTRYPOINT and CMD of the image. */
  command: string[]
  env: Record<string, string>
  labels: Record<string, string>
  mounts: Mount[]
  hostname?: string
  workdir?: string
  /** `UID[:GID]`; the image's own if left out. */
  user?: string
  /** Network mode; the Engine's default if left out. */
  network?: string
  /** CPUs as a quota; 0 or left out: no limit. */
  cores?: number
  /** The only CPUs that it may use, as the kernel writes them: `0-3,8`. */
  cpus?: string
  /** The only NUMA nodes that its memory may be on, alike. */
  memoryNodes?: string
  /** Memory limit in bytes; swap is not added to it. */
  memoryBytes?: number
  devices?: DeviceRequest
  pidsLimit?: number
  privileged?: boolean
  /** Restart after a restart of the Engine, unless it was stopped by hand. */
  keepRunning?: boolean
  /** Where the output goes. `lossless` keeps every byte as it came (driver `local`), and drops the oldest of what is more than `logBytes`. */
  logs: 'default' | 'lossless' | 'none'
  /** What the Engine's log may take; 100 GB unless said. */
  logBytes?: number
}

/** Devices that a driver of the Engine puts into a container. An Engine without the driver refuses, at the latest when the container starts. */
export interface DeviceRequest {
  driver: 'nvidia' | 'cdi'
  /** As the driver names them: GPU UUIDs, or qualified names such as `nvidia.com/gpu=0`. */
  ids: string[]
}

export interface ExecSpec {
  command: string[]
  env?: Record<string, string>
  /** `UID[:GID]`; that of the container if left out. */
  user?: string
  tty: boolean
  columns?: number
  rows?: number
}

/** A process in a container, with its pipes or terminal. */
export interface ExecSession {
  /**
   * Bytes to the process; its readable side is raw terminal output (`tty`) or the multiplexed stream of the two outputs
   * (see `demultiplex.ts`). `end()` closes only the input.
   */
  stream: Duplex
  resize(columns: number, rows: number): Promise<void>
  /** `undefined` while it runs. */
  exitCode(): Promise<number | undefined>
}

export interface ImageSummary {
  id: string
  labels: Record<string, string>
}

export interface ImageDetails {
  id: string
  tags: string[]
  labels: Record<string, string>
  /** The run configuration (`Env`, `Cmd`, `Entrypoint`, …), as the Engine names it. */
  config: Record<string, unknown>
  /** Bytes. */
  size: number
  architecture: string
  variant: string
  os: string
  /** Diff ids of its layers, lowest first. */
  layers: string[]
}

/** Progress of a pull or load, summed over the layers. */
export interface TransferProgress {
  message: string
  bytes: number
  totalBytes: number
}

export interface CallOptions {
  signal?: AbortSignal
}

/**
 * What we ask of an Engine. All methods throw `engine.unavailable` when it can not be reached or answers 5xx while going
 * down; `engine.not_found`, `engine.conflict`, `engine.invalid`, `engine.failed` for its own refusals, with its words.
 * Aborting a `signal` rejects with the signal's reason.
 */
export interface Engine {
  info(): Promise<EngineInfo>

  /** MUST NOT pull. @throws `image.not_found`, `container.name_taken` */
  createContainer(spec: ContainerSpec): Promise<string>
  /** `undefined` if there is none. */
  inspectContainer(idOrName: string): Promise<ContainerDetails | undefined>
  /** Containers that carry all of `labels` (value `undefined`: any value), stopped ones too. */
  listContainers(labels: Record<string, string | undefined>): Promise<ContainerSummary[]>
  /**
   * Idempotent: a running container stays as it is. A program that does not exist is no error: under the init the container ends
   * at once with 127 and says why on stderr.
   */
  startContainer(id: string): Promise<void>
  /** SIGTERM, then SIGKILL after `graceSeconds`. Idempotent. */
  stopContainer(id: string, graceSeconds: number): Promise<void>
  /** Changes the limits of a running container. */
  limitContainer(id: string, limits: Pick<ContainerSpec, 'cores' | 'memoryBytes'>): Promise<void>
  /** Sends a signal to its main process. @throws `container.not_running` if it has ended or is paused */
  signalContainer(id: string, signal: string): Promise<void>
  pauseContainer(id: string): Promise<void>
  unpauseContainer(id: string): Promise<void>
  /** Ends and removes it with its anonymous volumes. Idempotent: one that is gone is a success. */
  removeContainer(id: string): Promise<void>
  /** Resolves to the exit code once it does not run. */
  waitContainer(id: string, options?: CallOptions): Promise<number>
  /** The multiplexed output from now on; attach before the start to miss nothing. Ends with the container. */
  attachOutput(id: string): Promise<Readable>
  /**
   * The multiplexed output from the very beginning, each line (or 16 KiB of a longer one) as a frame with its time before it: see `isLog` of
   * `demultiplex.ts`. `follow` goes on until the container ends.
   */
  readLogs(id: string, options: { follow: boolean }): Promise<Readable>
  /**
   * When the command does not exist in the container, some Engines refuse (`engine.invalid`), others start a session that
   * prints why and ends with 126 or 127.
   *
   * @throws `container.not_running`, `container.not_found`
   */
  exec(id: string, spec: ExecSpec): Promise<ExecSession>

  /** All images, those without a name and those that others are built on too. */
  listImages(): Promise<ImageSummary[]>
  /** `undefined` if there is none. */
  inspectImage(reference: string): Promise<ImageDetails | undefined>
  /** @throws `image.not_found`, `image.pull_failed` */
  pullImage(reference: string, options: CallOptions & { onProgress?: (progress: TransferProgress) => void }): Promise<void>
  /** The container's file system as a new image. Resolves to its id. The container is not paused: stop it before. */
  commitContainer(id: string, options: { repository: string; tag: string; author: string; comment: string }): Promise<string>
  tagImage(id: string, repository: string, tag: string): Promise<void>
  /** Removes a tag, or an image by id if nothing uses it. Idempotent. @throws `engine.conflict` if in use */
  removeImage(reference: string): Promise<void>
  /** The image as the Engine archives it. */
  saveImage(reference: string, options?: CallOptions): Promise<Readable>
  /** Loads an archive. Resolves to the references and ids that the Engine names as loaded. */
  loadImage(archive: Readable, options?: CallOptions): Promise<string[]>
}
