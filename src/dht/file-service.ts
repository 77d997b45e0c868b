import type { AbortOptions, PeerId } from '../base/index.ts'
import { BlockHealth } from './block-health.ts'
import { BlockReader, type BlockRange } from './block-reader.ts'
import { BlockService, type CopyRequest, type CopyResult } from './block-service.ts'
import { FILE_DEFAULTS, type FileOptions } from './config.ts'
import type { FileServicePorts } from './file-ports.ts'
import { FileChecker } from './file-checker.ts'
import { FileReader, type OpenedFile, type OpenOptions } from './file-reader.ts'
import { FileWriter, type OpenFile, type PutResult, type WriteOptions } from './file-writer.ts'
import { fileAppend, fileGet, filePut } from './messages.ts'
import { NamespaceService } from './namespace-service.ts'
import type { BlockStatus } from './namespace-types.ts'
import { OrphanCollector, type SweepResult } from './orphan-collector.ts'

/**
 * Files as this peer serves them: to clients and to its own jobs (put, get, directories), and to the other peers
 * (replicas). Answers from construction on; `start` begins the collection of garbage.
 */
export class FileService implements AsyncDisposable {
  readonly #writer: FileWriter
  readonly #reader: FileReader
  readonly #blockReader: BlockReader
  readonly #blocks: BlockService
  readonly #orphans: OrphanCollector
  readonly #health: BlockHealth

  constructor(ports: FileServicePorts, options: Partial<FileOptions> = {}) {
    const all = { ...FILE_DEFAULTS, ...options }
    this.#blocks = new BlockService(ports, all)
    this.#blockReader = new BlockReader(ports, all, (peer, block) => this.#health.reportBad(peer, block))
    this.#health = new BlockHealth(
      ports,
      all,
      (request, signal) => this.#blocks.copy(request, { signal }),
      () => this.#blockReader.counts,
    )
    this.#writer = new FileWriter(ports, all, this.#blocks.sink, (path, block, range) =>
      this.#blockReader.read(path, block, range),
    )
    this.#reader = new FileReader(ports, all, this.#blockReader)
    this.#orphans = new OrphanCollector(ports, all, blockId => this.#blocks.isSurplus(blockId))
    this.#register(ports, new NamespaceService(ports))
    new FileChecker(ports, this.#health).register(ports.transport)
  }

  /** Begins what goes on in the background: garbage, the audit, the scrub. */
  start(): void {
    this.#orphans.start()
    this.#health.start()
  }

  /** Writes a file and makes it visible, whole, at once. */
  async put(path: string, source: AsyncIterable<Uint8Array>, options: WriteOptions = {}): Promise<PutResult> {
    return this.#writer.put(path, source, options)
  }

  /** Writes a file that nobody sees before it is named in a `commit-output`; the caller keeps its lease alive. */
  async writeOpen(
    path: string,
    source: AsyncIterable<Uint8Array>,
    options: WriteOptions & { leaseMs?: number } = {},
  ): Promise<OpenFile> {
    return this.#writer.writeOpen(path, source, options)
  }

  /** Looks a file up and streams it, or a part of it. */
  async open(path: string, options: OpenOptions = {}): Promise<OpenedFile> {
    return this.#reader.open(path, options)
  }

  /** Streams one partition that was located before, from wherever it is. `path` only names it in errors. */
  readBlock(path: string, block: BlockStatus, range: BlockRange = {}): AsyncGenerator<Uint8Array, void> {
    return this.#blockReader.read(path, block, range)
  }

  /** Has a peer check its copy of a block or fetch one. */
  async askToCopy(peer: PeerId, request: CopyRequest, options: AbortOptions = {}): Promise<CopyResult> {
    return this.#blocks.askToCopy(peer, request, options)
  }

  /** Compares the disk with the namespace once and deletes what has been garbage for long enough. */
  async collectOrphans(options: AbortOptions = {}): Promise<SweepResult> {
    return this.#orphans.sweep(options)
  }

  /** This peer's replicas: checks, counters, the scrub and the audit. */
  get health(): BlockHealth {
    return this.#health
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#health[Symbol.asyncDispose]()
    await this.#orphans[Symbol.asyncDispose]()
  }

  #register(ports: FileServicePorts, namespace: NamespaceService): void {
    const { transport } = ports
    namespace.register(transport)
    this.#blocks.register(transport)
    this.#health.register(transport)
    transport.handle(filePut, async ({ head: { path, ...options }, body, signal }) =>
      this.#writer.put(path, body, { ...options, signal }),
    )
    transport.handle(fileAppend, async ({ head: { path }, body, signal }) =>
      this.#writer.append(path, body, { signal }),
    )
    transport.handle(fileGet, async ({ head: { path, ...options }, signal }) => {
      const asOf = options.consistency === 'stale' ? { asOf: ports.asOf() } : {}
      const { body, ...head } = await this.#reader.open(path, { ...options, signal })
      return { head: { ...head, ...asOf }, body }
    })
  }
}
