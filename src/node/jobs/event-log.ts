import { createHash } from 'node:crypto'
import { appendFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { zstdCompress, zstdDecompress } from 'node:zlib'
import { toWire, type Logger } from '../../base/index.ts'
import type { JobEvent } from '../../rdd/index.ts'
import { EVENT_LOG } from '../config.ts'

/** A place in the events of a job: after this one. */
export interface EventCursor {
  term: number
  seq: number
}

interface OpenJob {
  /** The latest, in order; those before `written` are in the file. */
  events: JobEvent[]
  written: number
  ended: boolean
  /** This peer may have more to say of it. */
  isLed: boolean
  /** It was there when others were written: it gets a file of its own. */
  isLong: boolean
}

interface StoredFile {
  bytes: number
}

/** Files of short jobs: no job's own name has a dot. */
const SHARED = 'short.'
const LINES = '.jsonl'
const PACKED = '.jsonl.zst'
const compress = promisify(zstdCompress)
const decompress = promisify(zstdDecompress)

/**
 * The events of the jobs that this peer has led, one file of JSON lines each: `events/<session>-<number>.jsonl`, packed when a
 * long job ends. Jobs that are over before they are written share files, since there may be hundreds a second. Nothing waits for it: events are written a moment later, and what a killed peer had not yet written is lost. A
 * disk that fails costs events and no job. The oldest files go first.
 */
export class EventLog implements AsyncDisposable {
  readonly #directory: string
  readonly #log: Logger
  readonly #open = new Map<string, OpenJob>()
  /** By file name, the oldest first. */
  readonly #files = new Map<string, StoredFile>()
  readonly #listeners = new Map<string, Set<() => void>>()
  #flushing: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #failing = false
  #closing = false

  private constructor(options: { directory: string; log: Logger }) {
    this.#directory = options.directory
    this.#log = options.log
  }

  static async open(options: { directory: string; log: Logger }): Promise<EventLog> {
    const log = new EventLog(options)
    try {
      await log.#scan()
    } catch (error) {
      options.log.warn({ error: toWire(error) }, 'the event log of jobs cannot be read')
    }
    return log
  }

  async #scan(): Promise<void> {
    await mkdir(this.#directory, { recursive: true })
    const found: { name: string; bytes: number; mtimeMs: number }[] = []
    for (const name of await readdir(this.#directory)) {
      if (!name.endsWith(LINES) && !name.endsWith(PACKED)) continue
      const { size, mtimeMs } = await stat(join(this.#directory, name))
      found.push({ name, bytes: size, mtimeMs })
    }
    found.sort((a, b) => a.mtimeMs - b.mtimeMs)
    for (const { name, bytes } of found) this.#files.set(name, { bytes })
    await this.#forgetOldest()
  }

  /** Events of one job or several, in order. Returns at once. */
  append(events: readonly JobEvent[]): void {
    for (const event of events) {
      let job = this.#open.get(event.jobId)
      if (job === undefined) {
        job = { events: [], written: 0, ended: false, isLed: true, isLong: false }
        this.#open.set(event.jobId, job)
      }
      job.events.push(event)
      job.isLed = true
      job.ended = event.type === 'job-ended'
    }
    for (const jobId of this.#listeners.size === 0 ? [] : new Set(events.map(event => event.jobId)))
      for (const listener of this.#listeners.get(jobId) ?? []) listener()
    this.#writeSoon()
  }

  #writeSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      void this.flush()
    }, EVENT_LOG.writeEveryMs).unref()
  }

  /** Lines after the cursor, whole, of up to so many bytes. At least one when there is one. */
  async read(
    jobId: string,
    after: EventCursor | undefined,
    bytesMax: number,
  ): Promise<{ text: string; more: boolean }> {
    const recent = this.#recent(jobId, after)
    if (recent !== undefined)
      return cut(
        recent.map(event => JSON.stringify(event)),
        bytesMax,
      )
    await this.flush()
    const lines = await this.#linesOf(jobId)
    const last = lines.length === 0 ? undefined : cursorOf(lines.at(-1)!)
    for (const event of this.#open.get(jobId)?.events ?? [])
      if (last === undefined || isAfter(event, last)) lines.push(JSON.stringify(event))
    return cut(after === undefined ? lines : lines.filter(line => isAfter(cursorOf(line), after)), bytesMax)
  }

  /** From memory, when all that is asked for is there. */
  #recent(jobId: string, after: EventCursor | undefined): JobEvent[] | undefined {
    const job = this.#open.get(jobId)
    const first = job?.events[0]
    if (job === undefined || first === undefined || after === undefined) return undefined
    const isWhole = after.term === first.term && first.seq <= after.seq + 1
    return isWhole ? job.events.filter(event => isAfter(event, after)) : undefined
  }

  /** Resolves when the job has something after the cursor, or after so long, or when it is called off. */
  async changed(
    jobId: string,
    after: EventCursor | undefined,
    { waitMs, signal }: { waitMs: number; signal: AbortSignal },
  ): Promise<void> {
    const last = this.#open.get(jobId)?.events.at(-1)
    if (last !== undefined && (after === undefined || isAfter(last, after))) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, waitMs)
    const listeners = this.#listeners.get(jobId) ?? new Set()
    this.#listeners.set(jobId, listeners.add(resolve))
    signal.addEventListener('abort', () => resolve(), { once: true })
    if (signal.aborted) resolve()
    await promise
    clearTimeout(timer)
    listeners.delete(resolve)
    if (listeners.size === 0) this.#listeners.delete(jobId)
  }

  /** All that was said so far is in its file, unless the disk refuses. */
  async flush(): Promise<void> {
    const before = this.#flushing
    this.#flushing = before.then(() => this.#write())
    await this.#flushing
  }

  /** This peer leads no more: what comes of these jobs, another one says. */
  letGo(): void {
    for (const job of this.#open.values()) job.isLed = false
    void this.flush()
  }

  async #write(): Promise<void> {
    await this.#writeShort()
    for (const [jobId, job] of this.#open) {
      const mayBeShort = job.written === 0 && job.isLed && job.events.length <= EVENT_LOG.shortEventsMax
      if (mayBeShort && !this.#closing && (job.ended || !job.isLong)) {
        job.isLong = true
        this.#writeSoon()
        continue
      }
      try {
        while (job.written < job.events.length) await this.#writeSome(jobId, job)
        if (job.ended) await this.#pack(jobId)
        this.#failing = false
      } catch (error) {
        this.#warn(error)
        job.written = job.events.length
      }
      const surplus = Math.min(job.written, job.events.length - EVENT_LOG.recentMax)
      if ((job.ended || !job.isLed) && job.written === job.events.length) this.#open.delete(jobId)
      else if (surplus > 0) {
        job.events.splice(0, surplus)
        job.written -= surplus
      }
    }
    await this.#forgetOldest()
  }

  async #writeShort(): Promise<void> {
    let some: JobEvent[] = []
    const write = async (): Promise<void> => {
      if (some.length === 0) return
      const text = textOf(some)
      some = []
      const shared = [...this.#files.keys()].filter(name => name.startsWith(SHARED))
      const last = shared.at(-1)
      const isFull = last === undefined || this.#files.get(last)!.bytes >= EVENT_LOG.sharedBytes
      const name = isFull ? `${SHARED}${Date.now()}${LINES}` : last
      try {
        await appendFile(join(this.#directory, name), text)
        this.#count(name, (this.#files.get(name)?.bytes ?? 0) + Buffer.byteLength(text))
        if (isFull && shared.length >= EVENT_LOG.sharedFilesMax) await this.#remove(shared[0]!)
        this.#failing = false
      } catch (error) {
        this.#warn(error)
      }
    }
    for (const [jobId, job] of this.#open) {
      const isShort = job.ended && job.written === 0 && job.events.length <= EVENT_LOG.shortEventsMax
      if (!isShort || this.#files.has(fileName(jobId) + LINES)) continue
      this.#open.delete(jobId)
      some.push(...job.events)
      if (some.length >= EVENT_LOG.writeEventsMax) await write()
    }
    await write()
  }

  /** In pieces: a long list made to text at once would hold up heartbeats. */
  async #writeSome(jobId: string, job: OpenJob): Promise<void> {
    const some = job.events.slice(job.written, job.written + EVENT_LOG.writeEventsMax)
    const text = textOf(some)
    const name = fileName(jobId) + LINES
    await appendFile(join(this.#directory, name), text)
    job.written += some.length
    this.#count(name, (this.#files.get(name)?.bytes ?? 0) + Buffer.byteLength(text))
  }

  /** Once, not for every job of a full disk. */
  #warn(error: unknown): void {
    if (!this.#failing)
      this.#log.warn({ error: toWire(error) }, 'events of jobs cannot be written: they are lost')
    this.#failing = true
  }

  /** The newest stand last. */
  #count(name: string, bytes: number): void {
    this.#files.delete(name)
    this.#files.set(name, { bytes })
  }

  async #pack(jobId: string): Promise<void> {
    const name = fileName(jobId)
    const lines = this.#files.get(name + LINES)
    // One that was packed before has been led here again: rare, and read all the same.
    if (lines === undefined || lines.bytes < EVENT_LOG.packBytesMin || this.#files.has(name + PACKED)) return
    const from = join(this.#directory, name + LINES)
    const to = join(this.#directory, name + PACKED)
    const packed = await compress(await readFile(from))
    await writeFile(`${to}.new`, packed)
    await rename(`${to}.new`, to)
    await rm(from)
    this.#files.delete(name + LINES)
    this.#count(name + PACKED, packed.byteLength)
  }

  async #forgetOldest(): Promise<void> {
    let bytes = 0
    for (const file of this.#files.values()) bytes += file.bytes
    for (const [name, file] of this.#files) {
      if (this.#files.size <= EVENT_LOG.filesMax && bytes <= EVENT_LOG.bytesMax) return
      bytes -= file.bytes
      await this.#remove(name)
    }
  }

  async #remove(name: string): Promise<void> {
    this.#files.delete(name)
    await rm(join(this.#directory, name), { force: true })
  }

  async #linesOf(jobId: string): Promise<string[]> {
    const mine = `"jobId":${JSON.stringify(jobId)},`
    const lines: string[] = []
    const files = [fileName(jobId) + PACKED, fileName(jobId) + LINES].filter(name => this.#files.has(name))
    // What runs, or has a file of its own, was never short.
    const mayBeShort = files.length === 0 && !this.#open.has(jobId)
    const shared = [...this.#files.keys()].filter(name => name.startsWith(SHARED)).sort()
    for (const name of mayBeShort ? shared : files) {
      const bytes = await readFile(join(this.#directory, name))
      const text = (name.endsWith(PACKED) ? await decompress(bytes) : bytes).toString('utf8')
      // The last one of a killed peer may be cut short.
      lines.push(...text.split('\n').filter(line => line.includes(mine) && line.endsWith('}')))
    }
    return lines
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer)
    this.#closing = true
    await this.flush()
    for (const listeners of this.#listeners.values()) for (const listener of listeners) listener()
  }
}

function textOf(events: readonly JobEvent[]): string {
  return `${events.map(event => JSON.stringify(event)).join('\n')}\n`
}

/** Job ids come from clients: whatever they are, this is one name in this directory. */
function fileName(jobId: string): string {
  if (/^\w{1,100}\/\d{1,16}$/.test(jobId)) return jobId.replace('/', '-')
  return createHash('sha256').update(jobId).digest('hex')
}

function isAfter(event: EventCursor, after: EventCursor): boolean {
  return event.term > after.term || (event.term === after.term && event.seq > after.seq)
}

/** Without parsing it all; inside of strings the quotes would be escaped. */
function cursorOf(line: string): EventCursor {
  const found = /"term":(\d+),"seq":(\d+),/.exec(line)
  return { term: Number(found?.[1] ?? -1), seq: Number(found?.[2] ?? -1) }
}

function cut(lines: readonly string[], bytesMax: number): { text: string; more: boolean } {
  let text = ''
  let bytes = 0
  for (const [index, line] of lines.entries()) {
    bytes += Buffer.byteLength(line) + 1
    if (bytes > bytesMax && index > 0) return { text, more: true }
    text += `${line}\n`
  }
  return { text, more: false }
}
