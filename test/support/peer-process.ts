import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { raceAbort, withDeadline } from '../../src/base/index.ts'
import type { PeerStatus } from '../../src/node/index.ts'
import type { FaultOrder, PeerReport, PeerSettings, StatusQuestion } from './peer-settings.ts'

const MAIN = fileURLToPath(new URL('peer-main.ts', import.meta.url))
/** A cold start on a busy machine; a healthy one takes a second or two. */
const START_TIMEOUT_MS = 60_000
const END_TIMEOUT_MS = 20_000
const STATUS_TIMEOUT_MS = 5_000

/** Every process that still runs: killed when this one ends in whatever way it can notice; else they notice themselves. */
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** A peer could not start, with the code it gave. */
export class PeerStartError extends Error {
  readonly code: string

  constructor(name: string, code: string, message: string) {
    super(`peer ${name} did not start: ${code}: ${message}`)
    this.code = code
  }
}

/** Where a peer listens, and where others are told that it does. */
export type PeerPlace = Pick<PeerSettings, 'listen' | 'announce' | 'dialFrom'> & {
  /** Network namespace that it runs in. */
  within?: string
}

/** A real process that runs one peer, on a directory and, from the second start on, a port of its own. */
export class PeerProcess {
  readonly name: string
  readonly logFile: string
  readonly #settings: PeerSettings
  #place: PeerPlace | undefined
  #child: ChildProcess | undefined
  #id = ''
  #addresses: string[] = []
  #seq = 0
  #paused = false
  #leaving = false
  #clockOffsetMs: number
  #crash: string | undefined
  readonly #questions = new Map<number, (status: PeerStatus) => void>()

  constructor(settings: PeerSettings, logFile: string) {
    this.name = settings.name
    this.#settings = settings
    this.#clockOffsetMs = settings.clockOffsetMs ?? 0
    this.logFile = logFile
  }

  /** From the next start on. */
  listenAt(place: PeerPlace): void {
    this.#place = place
  }

  /** Stays the same over restarts. */
  get id(): string {
    return this.#id
  }

  get addresses(): readonly string[] {
    return this.#addresses
  }

  get dataDirectory(): string {
    return this.#settings.dataDirectory
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Neither killed nor stopped; a paused process runs. */
  get isRunning(): boolean {
    return this.#child !== undefined
  }

  /** Resolves when it listens. @throws PeerStartError with the code it ended with. */
  async start(timeoutMs = START_TIMEOUT_MS): Promise<void> {
    if (this.#child !== undefined) throw new Error(`${this.name} runs already`)
    const log = openSync(this.logFile, 'a')
    const { within, ...place } = this.#listen()
    const settings = { ...this.#settings, ...place, clockOffsetMs: this.#clockOffsetMs }
    const node = [process.execPath, '--no-warnings', MAIN, JSON.stringify(settings)]
    const [program = '', ...args] = within === undefined ? node : ['ip', 'netns', 'exec', within, ...node]
    const child = spawn(program, args, {
      stdio: ['ignore', log, log, 'ipc'],
    })
    closeSync(log)
    running.add(child)
    this.#child = child
    this.#paused = false
    const serving = Promise.withResolvers<void>()
    child.on('message', (report: PeerReport) => {
      if (report.type === 'serving') {
        this.#id = report.id
        this.#addresses = report.addresses
        serving.resolve()
      } else if (report.type === 'failed') {
        serving.reject(new PeerStartError(this.name, report.code, report.message))
      } else {
        this.#questions.get(report.seq)?.(report.status)
        this.#questions.delete(report.seq)
      }
    })
    child.once('exit', (code, signal) => {
      running.delete(child)
      if (this.#child === child) {
        this.#child = undefined
        if (this.#id !== '' && !this.#leaving) this.#crash = `exit ${code ?? signal}\n${this.logTail(20)}`
      }
      serving.reject(new PeerStartError(this.name, `exit ${code ?? signal}`, this.logTail()))
    })
    using deadline = withDeadline(`the start of ${this.name}`, timeoutMs)
    await raceAbort(serving.promise, deadline)
  }

  /** The port of the first start again, so that the others' addresses stay right. */
  #listen(): PeerPlace {
    if (this.#place !== undefined) return this.#place
    const [address] = this.#addresses
    return address === undefined ? {} : { listen: [address.replace(/\/p2p\/.*$/, '')] }
  }

  /** SIGKILL: no good-bye, no flush. Resolves when the process is gone. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** SIGTERM: the peer stops gracefully. @returns its exit code. */
  async stop(): Promise<number | null> {
    return await this.#end('SIGTERM')
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child
    if (child === undefined) return null
    this.#child = undefined
    const ended = once(child, 'exit') as Promise<[number | null]>
    child.kill(signal)
    if (this.#paused) child.kill('SIGCONT')
    using deadline = withDeadline(`the end of ${this.name} by ${signal}`, END_TIMEOUT_MS)
    const [code] = await raceAbort(ended, deadline)
    return code
  }

  /** Resolves when the peer, which was told to leave the mesh, has done so and ended. */
  async drained(timeoutMs = 120_000): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    this.#leaving = true
    using deadline = withDeadline(`${this.name} to leave`, timeoutMs)
    const [code] = (await raceAbort(once(child, 'exit'), deadline)) as [number | null]
    if (code !== 0) throw new Error(`${this.name} left with exit code ${code}\n${this.logTail(20)}`)
  }

  /** How it ended when nobody had asked it to, once. */
  takeCrash(): string | undefined {
    const crash = this.#crash
    this.#crash = undefined
    return crash
  }

  /** SIGSTOP: it stands still, with all its connections open. */
  pause(): void {
    this.#child?.kill('SIGSTOP')
    this.#paused = true
  }

  /** SIGCONT. */
  resume(): void {
    this.#child?.kill('SIGCONT')
    this.#paused = false
  }

  /** Sets its wall clock so far ahead of this machine's, or behind: now, and for later starts. */
  setClock(offsetMs: number): void {
    this.#clockOffsetMs = offsetMs
    this.#tell({ type: 'clock', offsetMs })
  }

  /** Until it is started anew its disk fails to sync what lies in these folders of its data directory. */
  failSyncs(...folders: readonly string[]): void {
    this.#tell({ type: 'fail-syncs', paths: folders.map(folder => join(this.dataDirectory, folder)) })
  }

  #tell(order: FaultOrder): void {
    this.#child?.send(order)
  }

  /** As the peer itself sees it. @throws when it does not run or does not answer soon. */
  async status(): Promise<PeerStatus> {
    const child = this.#child
    if (child === undefined || this.#paused) throw new Error(`${this.name} does not run`)
    const seq = ++this.#seq
    const answer = Promise.withResolvers<PeerStatus>()
    this.#questions.set(seq, answer.resolve)
    const question: StatusQuestion = { type: 'status', seq }
    child.send(question, error => {
      if (error !== null) answer.reject(error)
    })
    using deadline = withDeadline(`the status of ${this.name}`, STATUS_TIMEOUT_MS)
    return await raceAbort(answer.promise, deadline)
  }

  logTail(lines = 60): string {
    return readFileSync(this.logFile, 'utf8').split('\n').slice(-lines).join('\n')
  }
}
