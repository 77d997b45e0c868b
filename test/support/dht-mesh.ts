import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  asPeerId,
  pack,
  seededRandom,
  ShoalError,
  silentLogger,
  sleep,
  systemClock,
  unpack,
  type AbortOptions,
  type BlockId,
  type PeerId,
  type Transport,
} from '../../src/base/index.ts'
import {
  DiskBlockStore,
  FileClient,
  FileService,
  Namespace,
  slotBatch,
  SlotTable,
  type BlockReadOptions,
  type BlockStore,
  type BlockVerifyOptions,
  type BlockWriteOptions,
  type DhtCommand,
  type DhtResult,
  type FileClientPort,
  type FileOptions,
  type FileServicePorts,
  type ResultOf,
  type StoreListener,
} from '../../src/dht/index.ts'
import { isSlotCommand } from '../../src/dht/dht-commands.ts'
import { replicaOwners, type RingPeer } from '../../src/dht/ring.ts'
import { FaultyFs } from './faulty-fs.ts'
import { MemoryNetwork } from './memory-transport.ts'

/** Few enough that a test can look at all of them. */
const SLOTS = 64

export interface MeshPeer {
  name: string
  id: PeerId
  transport: Transport
  store: WatchedStore
  /** Under the store: makes its disk fail. */
  fs: FaultyFs
  service: FileService
  ports: FileServicePorts
}

/** A real store on disk whose use a test can watch. */
export class WatchedStore implements BlockStore {
  readonly disk: DiskBlockStore
  reads = 0
  /** Reads hang from now on, as on a disk that does not answer. */
  stalled = false
  /** Of those: how many the reader gave up. */
  cancelled = 0

  constructor(disk: DiskBlockStore) {
    this.disk = disk
  }

  write(blockId: BlockId, source: AsyncIterable<Uint8Array>, options?: BlockWriteOptions) {
    return this.disk.write(blockId, source, options)
  }
  read(blockId: BlockId, options?: BlockReadOptions) {
    this.reads++
    return this.stalled ? this.#hang(options) : this.disk.read(blockId, options)
  }
  async *#hang({ signal }: BlockReadOptions = {}): AsyncGenerator<Uint8Array, void> {
    const ended = Promise.withResolvers<void>()
    signal?.addEventListener('abort', () => ended.resolve(), { once: true })
    await ended.promise
    this.cancelled++
    yield* []
  }
  has(blockId: BlockId) {
    return this.disk.has(blockId)
  }
  stat(blockId: BlockId) {
    return this.disk.stat(blockId)
  }
  list() {
    return this.disk.list()
  }
  verify(blockId: BlockId, options?: BlockVerifyOptions) {
    return this.disk.verify(blockId, options)
  }
  verifiedMs(blockId: BlockId) {
    return this.disk.verifiedMs(blockId)
  }
  quarantine(blockId: BlockId) {
    return this.disk.quarantine(blockId)
  }
  quarantined() {
    return this.disk.quarantined()
  }
  release(blockId: BlockId) {
    return this.disk.release(blockId)
  }
  busy() {
    return this.disk.busy()
  }
  onChange(listener: StoreListener) {
    this.disk.onChange(listener)
  }
  probe(blockId: BlockId) {
    return this.disk.probe(blockId)
  }
  get failure() {
    return this.disk.failure
  }
  onFailure(listener: (failure: ShoalError) => void) {
    this.disk.onFailure(listener)
  }
  delete(blockId: BlockId) {
    return this.disk.delete(blockId)
  }
  usage() {
    return this.disk.usage()
  }
  pathOf(blockId: BlockId) {
    return this.disk.pathOf(blockId)
  }
  [Symbol.asyncDispose]() {
    return this.disk[Symbol.asyncDispose]()
  }
}

/**
 * Peers with real stores over the in-memory network, and one copy of the replicated state to which every proposal is applied
 * at once: what the log gives, without the log.
 */
export class DhtMesh implements AsyncDisposable {
  readonly network = new MemoryNetwork()
  readonly namespace = new Namespace({ slotCount: SLOTS })
  readonly slots = new SlotTable(SLOTS)
  readonly peers = new Map<string, MeshPeer>()
  readonly applied: DhtCommand[] = []
  readonly listeners: ((command: DhtCommand) => void)[] = []
  /** Without it proposals and barriers fail with NO_QUORUM. */
  quorum = true
  /** Added to the monotonic clock and to log time. */
  aheadMs = 0
  readonly #dead = new Set<PeerId>()
  readonly #killed = new Set<Transport>()
  readonly #directory: string
  readonly #options: Partial<FileOptions>
  #index = 0
  #clients = 0

  private constructor(directory: string, options: Partial<FileOptions>) {
    this.#directory = directory
    this.#options = options
  }

  static async start(names: readonly string[], options: Partial<FileOptions> = {}): Promise<DhtMesh> {
    const mesh = new DhtMesh(await mkdtemp(join(tmpdir(), 'shoal-dht-')), options)
    for (const name of names) await mesh.join(name)
    mesh.assignSlots()
    return mesh
  }

  async join(name: string): Promise<MeshPeer> {
    const transport = this.network.join(name)
    const id = transport.self
    const fs = new FaultyFs()
    const disk = await DiskBlockStore.open({
      fs,
      directory: join(this.#directory, name),
      peer: name,
      diskReserveBytes: 0,
    })
    const store = new WatchedStore(disk)
    const ports: FileServicePorts = {
      transport,
      store,
      propose: async <C extends DhtCommand>(command: C, options?: AbortOptions) => {
        options?.signal?.throwIfAborted()
        await Promise.resolve()
        if (this.#killed.has(transport)) throw new ShoalError('CONNECTION_LOST', { peer: name })
        return this.apply(command) as ResultOf<C>
      },
      readBarrier: async () => this.#needQuorum(),
      namespace: () => this.namespace,
      slots: () => this.slots,
      peers: () => this.ring(),
      isAlive: peer => !this.#dead.has(peer),
      nameOf: peer => peer,
      appliedIndex: () => this.#index,
      asOf: () => ({ index: this.#index, ageMs: 0 }),
      clock: { nowMs: () => systemClock.nowMs() + this.aheadMs },
      random: seededRandom(this.peers.size + 1),
      log: silentLogger,
    }
    const peer = { name, id, transport, store, fs, service: new FileService(ports, this.#options), ports }
    this.peers.set(name, peer)
    return peer
  }

  /** As the log does: packed, unpacked, applied in order. */
  apply(command: DhtCommand): DhtResult {
    this.#needQuorum()
    const decoded = unpack(pack(command)) as DhtCommand
    const context = { index: ++this.#index, term: 1, timeMs: Date.now() + this.aheadMs }
    const result = isSlotCommand(decoded)
      ? this.slots.apply(decoded, context)
      : this.namespace.apply(decoded, context)
    this.namespace.assertInvariants()
    this.applied.push(decoded)
    for (const listener of this.listeners) listener(decoded)
    return result
  }

  ring(): RingPeer[] {
    return [...this.peers.values()].map(({ id, name }) => ({ peerId: id, host: name, zone: '', weight: 1 }))
  }

  /** Three owners for each slot, as seeding does. */
  assignSlots(): void {
    const changes = Array.from({ length: SLOTS }, (_, slot) => ({
      slot,
      epoch: 0,
      owners: replicaOwners(slot, [], 3, this.ring()),
    }))
    this.apply({ type: 'slots-assign', batch: slotBatch(changes) })
  }

  peer(name: string): MeshPeer {
    const peer = this.peers.get(name)
    if (peer === undefined) throw new Error(`no peer ${name}`)
    return peer
  }

  /** SIGKILL; with `noticed: false` the others go on believing that it is alive. */
  kill(name: string, { noticed = true } = {}): void {
    this.network.kill(name)
    this.#killed.add(this.peer(name).transport)
    if (noticed) this.#dead.add(asPeerId(name))
  }

  isDead(name: string): boolean {
    return this.#dead.has(asPeerId(name))
  }

  /** A client attached to a peer; to the first living one when that peer is dead. */
  client(name: string): FileClient {
    return new FileClient(this.port(name), { random: seededRandom(1000 + this.#clients) })
  }

  /** The way of a client of its own into the mesh. */
  port(name: string): FileClientPort {
    const transport = this.network.join(`client-${this.#clients++}`, 'client')
    return {
      call: (type, head, options) => {
        const attached = this.isDead(name) ? [...this.peers.keys()].find(other => !this.isDead(other)) : name
        return transport.call(asPeerId(attached ?? name), type, head, options)
      },
    }
  }

  /** Damages the stored bytes of one replica behind the store's back. */
  async flip(name: string, blockId: BlockId, offset = 0): Promise<void> {
    const file = await open(this.peer(name).store.pathOf(blockId), 'r+')
    const byte = new Uint8Array(1)
    await file.read(byte, 0, 1, offset)
    byte[0]! ^= 0xff
    await file.write(byte, 0, 1, offset)
    await file.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { service, store } of this.peers.values()) {
      await service[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    }
    await rm(this.#directory, { recursive: true, force: true })
  }

  #needQuorum(): void {
    if (!this.quorum) throw new ShoalError('NO_QUORUM', { term: 1, voters: [] })
  }
}

/** Waits until the claim holds; fails after the deadline, naming it. */
export async function eventually(
  claim: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 5_000,
): Promise<void> {
  const endMs = performance.now() + timeoutMs
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${claim}`)
    await sleep(5)
  }
}

export async function bytesOf(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** The bytes in chunks of this size. */
export async function* chunked(bytes: Uint8Array, chunkBytes = 16 * 1024): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
}
