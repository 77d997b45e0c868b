import {
  below,
  hasCode,
  invariant,
  sleep,
  systemRandom,
  type AbortOptions,
  type CallOptions,
  type ErrorCode,
  type FileId,
  type MessageType,
  type Random,
  type Reply,
} from '../base/index.ts'
import {
  fileAppend,
  fileCheck,
  fileGet,
  fileLocate,
  filePut,
  fileVerify,
  meshBlockHealth,
  namespaceLs,
  namespaceMkdir,
  namespaceMv,
  namespaceRm,
  namespaceStat,
  namespaceUsage,
  replicationStatus,
  type AppendReply,
  type CheckedFile,
  type FileEntry,
  type AsOf,
  type GetReply,
  type MeshHealth,
  type PartitionPlace,
  type PutReply,
  type VerifiedBlock,
} from './messages.ts'
import type { SessionSeq } from './namespace-commands.ts'
import type { FileFormat, Usage } from './namespace-types.ts'
import { OperatorClient } from './operator-client.ts'
import type { ReplicationHealth } from './replication-health.ts'

/** How a client reaches the mesh: the peer it is attached to now, another one after that died. */
export interface FileClientPort {
  call<Request, ReplyHead>(
    type: MessageType<Request, ReplyHead>,
    head: Request,
    options?: CallOptions,
  ): Promise<Reply<ReplyHead>>
}

export interface FileClientOptions {
  /** Names this client in its mutations, so that a repeated one is done once. @default random */
  clientId?: string
  /** @default systemRandom */
  random?: Random
  /** Until an answer begins. Longer than the mesh needs to find a new leader. @default 30_000 */
  timeoutMs?: number
  /** Longest `put`; its answer comes after the last byte. @default 86_400_000 */
  putTimeoutMs?: number
  /** How often a request or a read goes on at another peer after its peer died. @default 5 */
  retriesMax?: number
}

export interface ReadOptions extends AbortOptions {
  /** `stale` answers from what one peer has, even without a leader. @default 'linearizable' */
  consistency?: 'linearizable' | 'stale'
}

export interface ClientPutOptions extends AbortOptions {
  /** Replace the file that is there, at the moment the new one is whole. @default false: ALREADY_EXISTS */
  overwrite?: boolean
  /** Make missing directories. @default false: NOT_FOUND */
  parents?: boolean
  /** @default 'lines' */
  format?: FileFormat
  /** @default 33_554_432 */
  partitionBytes?: number
  /** Copies wanted, 1–16. @default 3 */
  replication?: number
  /** Names this upload, 1–64 of `[0-9A-Za-z_-]`: interrupted, it can be taken up again, as `upload` does it. */
  token?: string
  /** With a token: the source begins behind this many partitions, which are stored already. @default 0 */
  from?: number
  /** With a token: keep what is stored for a day. @default false: for a minute after the last byte */
  keep?: boolean
}

export interface ClientGetOptions extends ReadOptions {
  /** First byte; negative counts from the end. @default 0 */
  start?: number
  /** One past the last byte. @default the end */
  end?: number
  /** Only this partition; `start` and `end` then count inside it. */
  partition?: number
  /** Only this version: NOT_FOUND when the path names another one by now. */
  fileId?: FileId
}

export interface Located {
  fileId: FileId
  sizeBytes: number
  partitions: PartitionPlace[]
}

/**
 * The peer is gone, not the request refused: another one can answer. Who says CANCELLED without having been told to is about to
 * stop.
 */
const PEER_GONE: readonly ErrorCode[] = ['CONNECTION_LOST', 'UNREACHABLE', 'CANCELLED']
/** `tail` reads backwards in pieces of this size at first. */
const TAIL_BYTES = 64 * 1024
/** Before the first retry; doubled each time, so that five take 1.5 s: time to find another peer. */
const RETRY_MS = 50
const NEWLINE = 0x0a
/** Partitions verified by one request, and how long that may take: each of them may be 2 GiB on a slow disk. */
const VERIFY_PAGE = 4
const VERIFY_TIMEOUT_MS = 600_000
const DAY_MS = 86_400_000

/** Files from the outside: the same for the command line, the REPL, programs and the HTTP door. */
export class FileClient extends OperatorClient {
  readonly #port: FileClientPort
  readonly #clientId: string
  readonly #timeoutMs: number
  readonly #putTimeoutMs: number
  readonly #retriesMax: number
  #seq = 0

  constructor(port: FileClientPort, options: FileClientOptions = {}) {
    super()
    const { random = systemRandom, timeoutMs = 30_000, putTimeoutMs = DAY_MS, retriesMax = 5 } = options
    this.#port = port
    this.#clientId = options.clientId ?? randomName(random)
    this.#timeoutMs = timeoutMs
    this.#putTimeoutMs = putTimeoutMs
    this.#retriesMax = retriesMax
  }

  /**
   * Writes a file; it becomes visible whole when this resolves. Not repeated by itself, for a source can be read only once:
   * after UNDER_REPLICATED or a lost connection nothing is visible and the caller may put again.
   */
  async put(
    path: string,
    source: AsyncIterable<Uint8Array>,
    options: ClientPutOptions = {},
  ): Promise<PutReply> {
    const { signal, ...head } = options
    const { head: reply } = await this.#port.call(
      filePut,
      { path, ...head },
      { body: source, timeoutMs: this.#putTimeoutMs, signal },
    )
    return reply
  }

  /**
   * Adds to a file; readers see the file of before or all of it. Not repeated by itself: after a lost connection look at the size first.
   * Errors: NOT_FOUND, WRITE_CONFLICT while another append is open.
   */
  async append(
    path: string,
    source: AsyncIterable<Uint8Array>,
    options: AbortOptions = {},
  ): Promise<AppendReply> {
    const { head } = await this.#port.call(
      fileAppend,
      { path },
      { body: source, timeoutMs: this.#putTimeoutMs, signal: options.signal },
    )
    return head
  }

  /**
   * Exactly the bytes of the file or range, or an error. When the peer dies the read goes on at another one, at the very next
   * byte, as long as the file is still the same version.
   */
  async *get(path: string, options: ClientGetOptions = {}): AsyncGenerator<Uint8Array, void> {
    const { signal, ...request } = options
    let opened: GetReply | undefined
    let at = 0
    let retries = 0
    for (;;) {
      const range: typeof request = opened === undefined ? request : { ...request, start: opened.start + at }
      if (opened !== undefined) range.end = opened.start + opened.bytes
      try {
        const version = opened === undefined ? {} : { fileId: opened.fileId }
        const reply: Reply<GetReply> = await this.#port.call(
          fileGet,
          { path, ...range, ...version },
          { timeoutMs: this.#timeoutMs, signal },
        )
        opened ??= reply.head
        for await (const chunk of reply.body) {
          at += chunk.length
          retries = 0
          yield chunk
        }
        invariant(at === opened.bytes, `${path}: ${at} of ${opened.bytes} bytes came before the end`)
        return
      } catch (error) {
        signal?.throwIfAborted()
        if (!isPeerGone(error) || retries === this.#retriesMax) throw error
        await sleep(RETRY_MS * 2 ** retries++, { signal })
      }
    }
  }

  /** The first `lines` lines, with their newlines. */
  async head(path: string, lines = 10, options: ReadOptions = {}): Promise<Uint8Array> {
    const kept: Uint8Array[] = []
    let missing = lines
    if (missing <= 0) return new Uint8Array(0)
    for await (const chunk of this.get(path, options)) {
      let end = 0
      while (missing > 0 && end < chunk.length) {
        const newline = chunk.indexOf(NEWLINE, end)
        if (newline === -1) {
          end = chunk.length
          break
        }
        end = newline + 1
        missing--
      }
      kept.push(chunk.subarray(0, end))
      if (missing === 0) break
    }
    return Buffer.concat(kept)
  }

  /** The last `lines` lines; reads backwards, so it costs what it shows. */
  async tail(path: string, lines = 10, options: ReadOptions = {}): Promise<Uint8Array> {
    const { sizeBytes } = await this.stat(path, options)
    if (lines <= 0) return new Uint8Array(0)
    const kept: Uint8Array[] = []
    let missing = lines
    let step = TAIL_BYTES
    for (let end = sizeBytes; end > 0; step *= 2) {
      const start = Math.max(end - step, 0)
      const piece = await this.#bytes(path, { ...options, start, end })
      // The newline that ends the file ends its last line; it does not begin another.
      let from = end === sizeBytes ? piece.length - 1 : piece.length
      let newline = piece.lastIndexOf(NEWLINE, from - 1)
      while (from > 0 && newline !== -1) {
        if (--missing === 0) return Buffer.concat([piece.subarray(newline + 1), ...kept])
        from = newline
        newline = from === 0 ? -1 : piece.lastIndexOf(NEWLINE, from - 1)
      }
      kept.unshift(piece)
      end = start
    }
    return Buffer.concat(kept)
  }

  async mkdir(
    path: string,
    options: AbortOptions & { parents?: boolean } = {},
  ): Promise<{ created: boolean }> {
    const { signal, ...head } = options
    return this.#ask(namespaceMkdir, { path, ...head, session: this.#next() }, signal)
  }

  /** All entries of a directory, by name; of a file, the file itself. */
  async ls(path: string, options: ReadOptions = {}): Promise<FileEntry[]> {
    const { signal, ...head } = options
    const all: FileEntry[] = []
    let startAfter: { startAfter: string } | undefined
    for (;;) {
      const { entries, more } = await this.#ask(namespaceLs, { path, ...head, ...startAfter }, signal)
      all.push(...entries)
      const last = entries.at(-1)
      if (!more || last === undefined) return all
      startAfter = { startAfter: last.name }
    }
  }

  /** Resolves with the new path: inside the target when that is a directory. */
  async mv(from: string, to: string, options: AbortOptions = {}): Promise<{ path: string }> {
    return this.#ask(namespaceMv, { from, to, session: this.#next() }, options.signal)
  }

  /** Moves it to the trash, from where `undelete` brings it back for a day; with `skipTrash` it goes for good. */
  async rm(
    path: string,
    options: AbortOptions & { recursive?: boolean; skipTrash?: boolean } = {},
  ): Promise<{ files: number; directories: number; sizeBytes: number; trash?: string | undefined }> {
    const { signal, ...head } = options
    return this.#ask(namespaceRm, { path, ...head, session: this.#next() }, signal)
  }

  /** Of a stale read also how old it may be (`asOf`). */
  async stat(path: string, options: ReadOptions = {}): Promise<FileEntry & { asOf?: AsOf | undefined }> {
    const { signal, ...head } = options
    return this.#ask(namespaceStat, { path, ...head }, signal)
  }

  /** Size and number of what is in a subtree. */
  async usage(path: string, options: ReadOptions = {}): Promise<Usage> {
    const { signal, ...head } = options
    return this.#ask(namespaceUsage, { path, ...head }, signal)
  }

  /** How safe all files are, as the peer that answers sees it. */
  async health(options: AbortOptions & { worstMax?: number } = {}): Promise<ReplicationHealth> {
    const { signal, ...head } = options
    return this.#ask(replicationStatus, head, signal)
  }

  /** Where each partition of a file is. */
  async locate(path: string, options: ReadOptions = {}): Promise<Located> {
    const { signal, ...head } = options
    const partitions: PartitionPlace[] = []
    for (;;) {
      const page = await this.#ask(fileLocate, { path, ...head, startAt: partitions.length }, signal)
      partitions.push(...page.places)
      if (!page.more || page.places.length === 0) {
        return { fileId: page.fileId, sizeBytes: page.sizeBytes, partitions }
      }
    }
  }

  /** How well each file under a path is kept, in the order of their names; a page is asked for at a time. */
  async *fsck(
    path: string,
    options: ReadOptions & { blocks?: boolean } = {},
  ): AsyncGenerator<CheckedFile, void> {
    const { signal, ...head } = options
    let startAfter: { startAfter: string } | undefined
    for (;;) {
      const { files, more, next } = await this.#ask(fileCheck, { path, ...head, ...startAfter }, signal)
      for (const file of files) {
        if (head.blocks === true) await this.#allBlocks(file, head, signal)
        yield file
      }
      if (!more || next === undefined) return
      startAfter = { startAfter: next }
    }
  }

  /** The blocks of a large file come in several answers. One that was replaced meanwhile keeps what came. */
  async #allBlocks(
    { path, partitions, blocks = [] }: CheckedFile,
    head: Omit<ReadOptions, 'signal'>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    while (blocks.length < partitions) {
      const request = { path, ...head, blocks: true, startBlock: blocks.length }
      const { files } = await this.#ask(fileCheck, request, signal)
      const next = files[0]?.blocks ?? []
      if (next.length === 0) return
      blocks.push(...next)
    }
  }

  /** Has all holders of a file read their copies, partition after partition, and mend bad ones; what they found. */
  async *verify(path: string, options: ReadOptions = {}): AsyncGenerator<VerifiedBlock, void> {
    const { signal, ...head } = options
    for (let startAt = 0; ;) {
      const { blocks, more } = await this.#ask(
        fileVerify,
        { path, ...head, startAt, limit: VERIFY_PAGE },
        signal,
        VERIFY_TIMEOUT_MS,
      )
      yield* blocks
      if (!more || blocks.length === 0) return
      startAt += blocks.length
    }
  }

  /** What the living peers say of their blocks: space, bad replicas found and mended, the scrub. */
  async blockHealth(options: AbortOptions = {}): Promise<MeshHealth> {
    return this.#ask(meshBlockHealth, {}, options.signal)
  }

  protected override async ask<Request, ReplyHead>(
    type: MessageType<Request, ReplyHead>,
    head: Request,
    signal: AbortSignal | undefined,
  ): Promise<ReplyHead> {
    return this.#ask(type, head, signal)
  }

  protected override nextSession(): SessionSeq {
    return this.#next()
  }

  async #bytes(path: string, options: ClientGetOptions): Promise<Uint8Array> {
    const chunks: Uint8Array[] = []
    for await (const chunk of this.get(path, options)) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  /** Questions, and mutations with a session, may be asked again. */
  async #ask<Request, ReplyHead>(
    type: MessageType<Request, ReplyHead>,
    head: Request,
    signal: AbortSignal | undefined,
    timeoutMs = this.#timeoutMs,
  ): Promise<ReplyHead> {
    for (let retries = 0; ; retries++) {
      try {
        return (await this.#port.call(type, head, { timeoutMs, signal })).head
      } catch (error) {
        signal?.throwIfAborted()
        if (!isPeerGone(error) || retries === this.#retriesMax) throw error
        await sleep(RETRY_MS * 2 ** retries, { signal })
      }
    }
  }

  #next(): SessionSeq {
    return { clientId: this.#clientId, seq: ++this.#seq }
  }
}

function isPeerGone(error: unknown): boolean {
  return PEER_GONE.some(code => hasCode(error, code))
}

function randomName(random: Random): string {
  return Array.from({ length: 4 }, () => below(random, 0x1_0000_0000).toString(16).padStart(8, '0')).join('')
}
