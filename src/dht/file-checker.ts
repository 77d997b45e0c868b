import { hasCode, sleep, type BlockId, type PeerId, type Transport } from '../base/index.ts'
import type { BlockHealth } from './block-health.ts'
import type { FileServicePorts } from './file-ports.ts'
import {
  fileCheck,
  fileVerify,
  PAGE_MAX,
  VERIFY_MAX,
  type CheckedBlock,
  type CheckedFile,
  type VerifiedBlock,
} from './messages.ts'
import type { BlockStatus, FileStatus, NamespaceView } from './namespace-types.ts'
import { handleRead } from './reads.ts'

/** Blocks looked at for one page: what is answered in one go must not hold the peer up, nor be a long message. */
const BLOCKS_MAX = 4_000
/** The same when they are named, with up to 16 holders of up to 150 bytes each: within the head of a message. */
const NAMED_MAX = 400
/** Replicas of one page that are verified at the same time, over all holders; no more than one holder checks at a time. */
const VERIFY_PARALLEL = 4
/** Before a holder that has enough to check is asked again, and how often: half a minute. */
const BUSY_WAIT_MS = 250
const BUSY_TRIES = 120
/** For so long what the holders said of their damaged copies is taken as fresh, for the pages of one check. */
const DAMAGED_FRESH_MS = 2_000

interface Damaged {
  atMs: number
  /** By peer: the state of its damaged copies. */
  of: ReadonlyMap<PeerId, ReadonlyMap<BlockId, 'corrupt' | 'missing'>>
  unheard: PeerId[]
}

/** Answers people's questions: are the files under a path whole, and are their bytes what they were? Page by page. */
export class FileChecker {
  readonly #ports: FileServicePorts
  readonly #health: BlockHealth
  #damaged: Damaged | undefined

  constructor(ports: FileServicePorts, health: BlockHealth) {
    this.#ports = ports
    this.#health = health
  }

  register(transport: Transport): void {
    handleRead(transport, this.#ports, fileCheck, async (_, { head, signal }) => {
      const { of, unheard } = await this.#damagedNow(signal)
      return { ...this.#page(head, of), unheard }
    })
    handleRead(transport, this.#ports, fileVerify, async (namespace, { head, signal }) => {
      const { path, startAt = 0, limit = VERIFY_MAX } = head
      const blocks = namespace.blocksOf(path)
      const page = blocks.slice(startAt, startAt + limit)
      return {
        partitions: blocks.length,
        blocks: await this.#verify(page, signal),
        more: startAt + page.length < blocks.length,
      }
    })
  }

  #page(
    head: {
      path: string
      startAfter?: string | undefined
      blocks?: boolean | undefined
      startBlock?: number | undefined
      filesMax?: number | undefined
    },
    damaged: Damaged['of'],
  ): { files: CheckedFile[]; more: boolean; next?: string } {
    const { path, startAfter, startBlock = 0, filesMax = PAGE_MAX } = head
    const blocksMax = head.blocks === true ? NAMED_MAX : BLOCKS_MAX
    const namespace = this.#ports.namespace()
    const living = this.#ports.peers().filter(({ peerId }) => this.#ports.isAlive(peerId)).length
    const files: CheckedFile[] = []
    let blocksSeen = 0
    let next = startAfter
    for (const file of filesUnder(namespace, path, startAfter)) {
      if (files.length >= filesMax || blocksSeen >= blocksMax)
        return { files, more: true, ...(next !== undefined && { next }) }
      next = file.path
      if (file.type === 'directory') {
        blocksSeen++
        continue
      }
      const blocks = namespace.blocksOf(file.path)
      const room = Math.max(1, NAMED_MAX - blocksSeen)
      blocksSeen += blocks.length + 1
      const checked = this.#checked(file, blocks, damaged, living)
      if (head.blocks !== true) delete checked.blocks
      else checked.blocks = checked.blocks?.slice(startBlock, startBlock + room)
      files.push(checked)
    }
    return { files, more: false }
  }

  #checked(
    file: FileStatus,
    blocks: readonly BlockStatus[],
    damaged: Damaged['of'],
    living: number,
  ): CheckedFile {
    const checked = blocks.map(block => this.#checkedBlock(block, damaged))
    let underReplicated = 0
    let missing = 0
    let short = 0
    let corrupt = 0
    for (const { holders, wanted } of checked) {
      const good = holders.filter(({ state }) => state === 'good').length
      corrupt += holders.filter(({ state }) => state === 'corrupt').length
      if (good === 0) missing++
      else if (good < Math.min(wanted, living)) underReplicated++
      else if (good < wanted) short++
    }
    const { path, sizeBytes, replication = 0 } = file
    return {
      path,
      sizeBytes,
      replication,
      partitions: blocks.length,
      underReplicated,
      missing,
      short,
      corrupt,
      blocks: checked,
    }
  }

  #checkedBlock(
    { blockId, index, sizeBytes, holders, replication }: BlockStatus,
    damaged: Damaged['of'],
  ): CheckedBlock {
    return {
      index,
      blockId,
      bytes: sizeBytes,
      wanted: replication,
      holders: holders.map(peer => ({
        peer,
        name: this.#ports.nameOf(peer),
        state: this.#ports.isAlive(peer) ? (damaged.get(peer)?.get(blockId) ?? 'good') : 'dead',
      })),
    }
  }

  async #damagedNow(signal: AbortSignal): Promise<Damaged> {
    const nowMs = this.#ports.clock.nowMs()
    if (this.#damaged !== undefined && nowMs - this.#damaged.atMs < DAMAGED_FRESH_MS) return this.#damaged
    const { peers } = await this.#health.ofMesh(signal)
    this.#damaged = {
      atMs: nowMs,
      of: new Map(
        peers.map(({ peer, health }) => [
          peer,
          new Map(health?.damaged.map(({ blockId, state }) => [blockId, state])),
        ]),
      ),
      unheard: peers.filter(({ health }) => health === undefined).map(({ peer }) => peer),
    }
    return this.#damaged
  }

  async #verify(blocks: readonly BlockStatus[], signal: AbortSignal): Promise<VerifiedBlock[]> {
    const verified = blocks.map(({ index, blockId, sizeBytes }): VerifiedBlock => ({
      index,
      blockId,
      bytes: sizeBytes,
      replicas: [],
    }))
    const tasks = blocks.flatMap((block, at) =>
      block.holders.map(peer => async () => {
        verified[at]!.replicas.push(await this.#verdict(peer, block, signal))
      }),
    )
    const waiting = tasks.values()
    await Promise.all(
      Array.from({ length: VERIFY_PARALLEL }, async () => {
        for (const task of waiting) await task()
      }),
    )
    return verified
  }

  async #verdict(
    peer: PeerId,
    block: BlockStatus,
    signal: AbortSignal,
  ): Promise<VerifiedBlock['replicas'][number]> {
    const named = { peer, name: this.#ports.nameOf(peer) }
    if (!this.#ports.isAlive(peer))
      return { ...named, found: 'unknown', now: 'unknown', reason: 'it is dead' }
    try {
      for (let tries = 1; ; tries++) {
        const verdict = await this.#health.ask(peer, block, signal).catch((error: unknown) => {
          if (hasCode(error, 'BUSY') && tries < BUSY_TRIES) return undefined
          throw error
        })
        if (verdict !== undefined) return { ...named, ...verdict }
        await sleep(BUSY_WAIT_MS, { signal })
      }
    } catch (error) {
      signal.throwIfAborted()
      const reason = error instanceof Error ? error.message : String(error)
      return { ...named, found: 'unknown', now: 'unknown', reason }
    }
  }
}

/**
 * The files under a path, names in order, and each directory behind what is in it; what comes behind `after`, which need not be
 * there any more.
 */
export function* filesUnder(
  namespace: NamespaceView,
  path: string,
  after?: string,
): Generator<FileStatus, void> {
  const root = namespace.stat(path)
  if (root.type === 'file') {
    if (after === undefined) yield root
    return
  }
  const prefix = root.path === '/' ? '/' : `${root.path}/`
  const [first, ...rest] = after?.startsWith(prefix) === true ? after.slice(prefix.length).split('/') : []
  if (first !== undefined && rest.length > 0 && namespace.exists(prefix + first)) {
    yield* filesUnder(namespace, prefix + first, after)
  }
  let startAfter = first
  for (;;) {
    const entries = namespace.list(root.path, {
      limit: PAGE_MAX,
      ...(startAfter !== undefined && { startAfter }),
    })
    for (const entry of entries) {
      if (entry.type === 'file') yield entry
      else {
        yield* filesUnder(namespace, entry.path)
        yield entry
      }
    }
    if (entries.length < PAGE_MAX) return
    startAfter = entries.at(-1)!.name
  }
}
