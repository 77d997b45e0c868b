import { asPeerId, toWire, withDeadline, type AbortOptions, type Logger } from '../base/index.ts'
import { asOfSchema, type AsOf } from '../dht/index.ts'
import { cancelJob, DatasetContext, type DetachedJob, type JobEvent, type TaskOutput } from '../rdd/index.ts'
import { FileSystem } from './files/file-system.ts'
import { SessionFiles, type LocalProgress } from './files/session-files.ts'
import { chaosCut, chaosFill } from './chaos-orders.ts'
import { followJobEvents, jobHistory, type JobEventsOptions, type JobHistory } from './jobs/event-reader.ts'
import { DetachedClient } from './jobs/detached-client.ts'
import { JobClient } from './jobs/job-client.ts'
import {
  leaderWhy,
  listJobs,
  peerStatus,
  type JobListing,
  type LeaderWhy,
  type PeerStatus,
} from './log-messages.ts'
import {
  drainPeer,
  drainStatus,
  planIfPeerDies,
  weighPeer,
  type DeathPlan,
  type DrainProgress,
} from './placement-messages.ts'
import { JOB_CLIENT } from './config.ts'
import type { MeshAccess } from './mesh-access.ts'
import { meshVitals, type MeshReport, type ReportedPeer } from './report-messages.ts'
import { MeshFiles } from './mesh-files.ts'
import { patient, type Patience } from './patient-access.ts'

export interface MeshOptions extends Patience {
  /** Partitions of parallelize and range where the call names none. @default 8 */
  defaultPartitions?: number
  /** Told how much of a local file (`file:` paths) is in the mesh, as it goes there. */
  onLocalFile?: (progress: LocalProgress) => void
  /** Global object of a REPL, to look up names that closures use. */
  globals?: object
  /** Told of each answer to a read that allowed a stale one (`consistency: 'stale'`): how old it may be. */
  onStale?: (asOf: AsOf) => void
  /** Told of each line that tasks of its jobs print. @default writes it to stderr, with a label (formatTaskOutput) */
  onTaskOutput?: (output: TaskOutput) => void
}

/**
 * The mesh: files (`fs`) and datasets (`parallelize`, `textFile`, …). What `connect()` gives, and the `mesh` of the REPL
 * and of an embedded peer.
 */
export class Mesh extends DatasetContext implements AsyncDisposable {
  readonly fs: FileSystem
  readonly #access: MeshAccess
  readonly #client: JobClient
  readonly #sessionFiles: SessionFiles
  readonly #log: Logger
  readonly #detached: DetachedClient
  readonly #onClose: (() => Promise<void>) | undefined

  constructor(given: MeshAccess, log: Logger, options: MeshOptions & { onClose?: () => Promise<void> } = {}) {
    const access = patient(given, options)
    const { onStale, onTaskOutput } = options
    const client = new JobClient(access, log, onTaskOutput === undefined ? {} : { onTaskOutput })
    const fs = new FileSystem({
      call: async (type, head, callOptions = {}) => {
        const reply = await access.callAttached(type, head, callOptions)
        if (onStale !== undefined) tellAge(reply.head, onStale)
        return reply
      },
    })
    const { onLocalFile, defaultPartitions, globals, onClose } = options
    const sessionFiles = new SessionFiles(fs, {
      session: client.session,
      onStored: () => client.holdSession(),
      onProgress: onLocalFile,
    })
    const detached = new DetachedClient(access, fs)
    super({
      runner: client,
      files: new MeshFiles(fs, access, client.session, sessionFiles),
      detacher: detached,
      ...(defaultPartitions === undefined ? {} : { defaultPartitions }),
      ...(globals === undefined ? {} : { globals }),
    })
    this.fs = fs
    this.#access = access
    this.#client = client
    this.#sessionFiles = sessionFiles
    this.#detached = detached
    this.#log = log
    this.#onClose = onClose
  }

  /** Begins to listen for results; done by whoever made it. */
  start(): void {
    this.#client.start()
  }

  /** How the peer that one is attached to sees itself and the mesh. */
  async status(options: AbortOptions = {}): Promise<PeerStatus> {
    return (await this.#access.callAttached(peerStatus, {}, options)).head
  }

  /** The same, and how each living peer is: load, memory, disk, log, blocks. */
  async report(options: AbortOptions = {}): Promise<MeshReport> {
    const [status, peers] = await Promise.all([this.status(options), this.#vitals(options)])
    return { status, peers }
  }

  async #vitals(options: AbortOptions): Promise<ReportedPeer[]> {
    const all: ReportedPeer[] = []
    for (;;) {
      const request = { startAt: all.length }
      const { peers, more } = (await this.#access.callAttached(meshVitals, request, options)).head
      all.push(...peers)
      if (!more || peers.length === 0) return all
    }
  }

  /** What `status` tells, as any peer sees it. */
  async statusOf(peer: string, options: AbortOptions = {}): Promise<PeerStatus> {
    return (await this.#access.callPeer(asPeerId(peer), peerStatus, {}, options)).head
  }

  /**
   * Cuts the peer that one is attached to off from others for a while, on its side.
   * @throws UNKNOWN_MESSAGE unless it was started with `allowChaos`.
   */
  async cutOff(from: readonly string[], forMs: number, options: AbortOptions = {}): Promise<void> {
    await this.#access.callAttached(chaosCut, { peers: [...from], forMs }, options)
  }

  /**
   * Has the peer that one is attached to take its disk for full for a while.
   * @throws UNKNOWN_MESSAGE unless it was started with `allowChaos`.
   */
  async fillDisk(forMs: number, options: AbortOptions = {}): Promise<void> {
    await this.#access.callAttached(chaosFill, { forMs }, options)
  }

  /** Why who leads leads, as the attached peer and, when it answers, the leader saw it. Works without a leader. */
  async leaderWhy(options: AbortOptions = {}): Promise<LeaderWhy> {
    return (await this.#access.callAttached(leaderWhy, {}, options)).head
  }

  /**
   * Marks a member (name or id) as draining: its data and its vote go elsewhere, then it leaves and stops. Answers at once; see
   * `drainStatus`. @throws DRAIN_REFUSED when too few peers are left, CONFIG_INVALID when there is no such member.
   */
  async drain(
    peer: string,
    options: AbortOptions & { cancel?: boolean; degraded?: boolean } = {},
  ): Promise<DrainProgress> {
    const { cancel, degraded, ...rest } = options
    return (await this.#access.callAttached(drainPeer, { peer, cancel, degraded }, rest)).head
  }

  /** How far a drain is. */
  async drainStatus(peer: string, options: AbortOptions = {}): Promise<DrainProgress> {
    return (await this.#access.callAttached(drainStatus, { peer }, options)).head
  }

  /** Changes a member's share of the data while it runs; 0 takes none. */
  async weigh(peer: string, weight: number, options: AbortOptions = {}): Promise<void> {
    await this.#access.callAttached(weighPeer, { peer, weight }, options)
  }

  /** What would be copied, and what would be in danger, if that member died now. */
  async planIfPeerDies(peer: string, options: AbortOptions = {}): Promise<DeathPlan> {
    return (await this.#access.callAttached(planIfPeerDies, { peer }, options)).head
  }

  /** Jobs that the mesh remembers, oldest first. */
  async jobs(options: AbortOptions = {}): Promise<JobListing[]> {
    return (await this.#access.callAttached(listJobs, {}, options)).head.jobs
  }

  /** A job that was handed over before, by whomever. `R` is what its action gives. */
  detachedJob<R = unknown>(jobId: string): DetachedJob<R> {
    return this.#detached.job<R>(jobId)
  }

  /** @throws JOB_UNKNOWN when it does not run. */
  async cancelJob(jobId: string, reason = 'asked to', options: AbortOptions = {}): Promise<void> {
    await this.#access.callLeader(cancelJob, { jobId, reason }, options)
  }

  /**
   * What happens to a job, in order, each event once: so far, or (`follow`) until it ends. Of any job of the mesh, running or
   * remembered. docs/job-events.md says what there is. @throws JOB_UNKNOWN
   */
  jobEvents(jobId: string, options: JobEventsOptions = {}): AsyncIterable<JobEvent> {
    return followJobEvents(this.#access, jobId, options)
  }

  /** All that is known of a job, with who may know more and does not answer. @throws JOB_UNKNOWN */
  async jobHistory(jobId: string, options: AbortOptions = {}): Promise<JobHistory> {
    return await jobHistory(this.#access, jobId, options)
  }

  /**
   * Told of this mesh's own jobs as they run: starts, stages, failures, progress, ends; not of single tasks that go well, and of
   * jobs that are over at once little but that. The whole is in `jobEvents`.
   */
  onJobEvent(listener: (event: JobEvent) => void): Disposable {
    return this.#client.onEvent(listener)
  }

  /** Jobs under way reject with JOB_CANCELLED. */
  async closeJobs(): Promise<void> {
    await Promise.all([this.#client.close(), this.#removeCheckpoints()])
  }

  /** Those that nobody named: nobody else reads them. */
  async #removeCheckpoints(): Promise<void> {
    const paths = this.ownCheckpoints()
    if (paths.length === 0) return
    try {
      using signal = withDeadline('removing checkpoints', JOB_CLIENT.closeTimeoutMs)
      await Promise.all(paths.map(path => this.fs.rm(path, { recursive: true, signal })))
    } catch (error) {
      this.#log.debug({ paths, error: toWire(error) }, 'checkpoints stay')
    }
  }

  async close(): Promise<void> {
    await this.closeJobs()
    await this.#sessionFiles.close()
    await this.#onClose?.()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

function tellAge(reply: unknown, onStale: (asOf: AsOf) => void): void {
  if (typeof reply !== 'object' || reply === null || !('asOf' in reply)) return
  const asOf = asOfSchema.safeParse(reply.asOf)
  if (asOf.success) onStale(asOf.data)
}
