import {
  invariant,
  ShoalError,
  toWire,
  type ApplyContext,
  type FileId,
  type SubMachine,
} from '../base/index.ts'
import { FILE_ID_PATTERN, parseBlockId } from './block-id.ts'
import { NAMESPACE_DEFAULTS, REPLICATION, type NamespaceLimits } from './config.ts'
import { NamespaceQueries } from './namespace-queries.ts'
import { NamespaceState, type OpenWrite } from './namespace-state.ts'
import { alreadyExists, isADirectory, newDirectory, notFound, type DirectoryNode } from './namespace-tree.ts'
import type {
  AddBlocks,
  BeginFile,
  BlockReport,
  CommitFile,
  CommitOutput,
  NamespaceAnswers,
  NamespaceCommand,
  NamespaceResult,
  ReportHolders,
} from './namespace-types.ts'
import { invalidPath, joinNames, normalisePath, pathNames } from './paths.ts'
import { SessionTable } from './session-table.ts'

const SHA256_PATTERN = /^[0-9a-f]{64}$/
/** Copies of one block: more than anyone asks for; bounds what a bad command could store. */
const HOLDERS_MAX = 16
const SNAPSHOT_VERSION = 1

type Answer<Type extends NamespaceCommand['type']> = NamespaceAnswers[Type]

/**
 * Which file is which blocks, and who holds them: the replicated half of the name node. Deterministic; log time is its
 * only clock. A command is carried out whole or refused and changes nothing.
 *
 * Invariants (with those of NamespaceState): a file is visible whole or not at all; a block that was visible goes only
 * with its file; the last holder of a block is never removed; one output directory has one winner.
 */
export class Namespace extends NamespaceQueries implements SubMachine<NamespaceCommand, NamespaceResult> {
  readonly #state: NamespaceState
  readonly #limits: NamespaceLimits
  readonly #sessions: SessionTable
  /** Log time of the newest entry: an older one would bring dead leases back. */
  #timeMs = 0

  constructor(limits: Partial<NamespaceLimits> = {}) {
    const all = { ...NAMESPACE_DEFAULTS, ...limits }
    const state = new NamespaceState(all.slotCount)
    super(state, all.slotCount)
    this.#state = state
    this.#limits = all
    this.#sessions = new SessionTable(all)
  }

  apply(command: NamespaceCommand, context: ApplyContext): NamespaceResult {
    invariant(context.timeMs >= this.#timeMs, 'log time does not go back')
    this.#timeMs = context.timeMs
    // What a planner of another term reports was true then; its leader no longer orders what happens to the copies.
    if (command.type === 'report-holders' && command.term !== undefined && command.term !== context.term) {
      const details = { term: command.term, seen: context.term }
      return { ok: false, error: toWire(new ShoalError('STALE_LEADER', details)) }
    }
    const { session } = command
    const first = session === undefined ? undefined : this.#sessions.recall(session)
    if (first !== undefined) return first
    const result = this.#attempt(command)
    // BUSY is no answer: the same request may succeed later.
    const final = result.ok || result.error.code !== 'BUSY'
    if (session !== undefined && final) this.#sessions.remember(session, result, context.timeMs)
    return result
  }

  #attempt(command: NamespaceCommand): NamespaceResult {
    try {
      return this.#perform(command)
    } catch (error) {
      if (error instanceof ShoalError) return { ok: false, error: toWire(error) }
      throw error
    }
  }

  #perform(command: NamespaceCommand): NamespaceResult {
    switch (command.type) {
      case 'mkdir':
        return this.#mkdir(command.path, command.parents === true)
      case 'begin-file':
        return this.#beginFile(command)
      case 'add-blocks':
        return this.#addBlocks(command)
      case 'commit-file':
        return this.#commitFile(command)
      case 'abandon-file':
        return this.#abandonFile(command.fileId)
      case 'extend-lease':
        return this.#extendLease(command.fileId, command.leaseMs)
      case 'mv':
        return this.#mv(command.from, command.to)
      case 'rm':
        return this.#rm(command.path, command.recursive === true)
      case 'report-holders':
        return this.#reportHolders(command)
      case 'commit-output':
        return this.#commitOutput(command)
      case 'expire-leases':
        return this.#expireLeases()
    }
    // A newer leader's command: every peer of this version refuses it alike.
    throw badCommand(command, 'this version does not know it')
  }

  #mkdir(path: string, parents: boolean): Answer<'mkdir'> {
    const names = pathNames(path)
    const there = this.#state.tree.find(names)
    if (there !== undefined) {
      if (there.kind === 'directory' && parents) return { ok: true, created: false }
      throw alreadyExists(joinNames(names))
    }
    if (parents) {
      this.#needRoom(this.#state.tree.missingDirectories(names))
      this.#state.makeDirectories(names, this.#timeMs)
    } else {
      const { parent, name } = this.#state.tree.parentOf(names)
      this.#needRoom(1)
      this.#state.linkDirectory(parent, newDirectory(name, this.#timeMs), this.#timeMs)
    }
    return { ok: true, created: true }
  }

  #beginFile(command: BeginFile): Answer<'begin-file'> {
    const { fileId } = command
    const overwrite = command.overwrite === true
    const parents = command.parents === true
    const replication = command.replication ?? REPLICATION
    if (!FILE_ID_PATTERN.test(fileId)) throw badCommand(command, 'a file id has 32 hexadecimal digits')
    if (!Number.isInteger(replication) || replication < 1 || replication > HOLDERS_MAX) {
      throw badCommand(command, `replication is a whole number from 1 to ${HOLDERS_MAX}`)
    }
    const path = normalisePath(command.path)
    const open = this.#state.writes.get(fileId)
    if (this.#state.files.has(fileId) || (open !== undefined && open.path !== path)) {
      throw badCommand(command, `file id ${fileId} is in use`)
    }
    this.#placeFor({ path, overwrite, parents })
    if (open === undefined && this.#state.writes.size >= this.#limits.leasesMax) {
      const limit = this.#limits.leasesMax
      throw new ShoalError(
        'BUSY',
        { what: 'open writes', limit },
        `${limit} writes are open; try again later`,
      )
    }
    const expiresAtMs = this.#timeMs + this.#leaseMs(command.leaseMs)
    this.#state.writes.set(fileId, {
      fileId,
      path,
      expiresAtMs,
      overwrite,
      parents,
      format: command.format ?? 'lines',
      replication,
      partitionBytes: command.partitionBytes,
      blocks: open?.blocks ?? new Map(),
    })
    return { ok: true, expiresAtMs }
  }

  #addBlocks(command: AddBlocks): Answer<'add-blocks'> {
    const limit = this.#limits.blocksPerCommandMax
    if (command.blocks.length > limit) throw badCommand(command, `at most ${limit} blocks an entry`)
    const write = this.#leased(command.fileId)
    const names = command.blocks.map(report => {
      const name = parseBlockId(report.blockId)
      if (name === undefined || name.fileId !== command.fileId || name.index !== report.index) {
        throw badCommand(command, `${report.blockId} is not block ${report.index} of ${command.fileId}`)
      }
      const reason = this.#faultOf(report)
      if (reason !== undefined) throw badCommand(command, `${report.blockId}: ${reason}`)
      return name
    })
    for (const [position, report] of command.blocks.entries()) {
      this.#state.addBlock(write, names[position]!.writeId, report)
    }
    return { ok: true }
  }

  #faultOf({ index, sizeBytes, sha256, holders }: BlockReport): string | undefined {
    if (index >= this.#limits.blocksPerFileMax)
      return `a file has at most ${this.#limits.blocksPerFileMax} blocks`
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 1) return 'a block has at least one byte'
    if (!SHA256_PATTERN.test(sha256)) return 'its SHA-256 has 64 hexadecimal digits'
    if (holders.length === 0 || holders.length > HOLDERS_MAX) return `it has 1 to ${HOLDERS_MAX} holders`
    if (new Set(holders).size !== holders.length) return 'a holder is named twice'
    return undefined
  }

  #commitFile(command: CommitFile): Answer<'commit-file'> {
    const visible = this.#state.files.get(command.fileId)
    if (visible !== undefined) {
      return { ok: true, sizeBytes: visible.sizeBytes, partitions: visible.blocks.length }
    }
    const write = this.#complete(command, command.fileId, command.blockCount)
    const { names, replaced } = this.#placeFor(write)
    if (replaced !== undefined) this.#state.remove(replaced, this.#timeMs)
    const parent = this.#state.makeDirectories(names.slice(0, -1), this.#timeMs)
    const node = this.#state.show(write, parent, names.at(-1)!, this.#timeMs)
    const answer: Answer<'commit-file'> = {
      ok: true,
      sizeBytes: node.sizeBytes,
      partitions: node.blocks.length,
    }
    if (replaced !== undefined) answer.replaced = replaced.fileId
    return answer
  }

  /** Where a file may become visible, and the file that it would replace; throws when it may not. */
  #placeFor(write: Pick<OpenWrite, 'path' | 'overwrite' | 'parents'>) {
    const names = pathNames(write.path)
    if (names.length === 0) throw isADirectory('/')
    const there = this.#state.tree.find(names)
    if (there?.kind === 'directory') throw isADirectory(write.path)
    if (there !== undefined && !write.overwrite) throw alreadyExists(write.path)
    const above = names.slice(0, -1)
    const missing = this.#state.tree.missingDirectories(above)
    if (missing > 0 && !write.parents) throw notFound(joinNames(above))
    this.#needRoom(missing + 1)
    return { names, replaced: there }
  }

  #abandonFile(fileId: FileId): Answer<'abandon-file'> {
    const write = this.#state.writes.get(fileId)
    if (write === undefined) return { ok: true, abandoned: false }
    this.#state.dropWrite(write)
    return { ok: true, abandoned: true }
  }

  #extendLease(fileId: FileId, leaseMs: number): Answer<'extend-lease'> {
    const write = this.#leased(fileId)
    write.expiresAtMs = Math.max(write.expiresAtMs, this.#timeMs + this.#leaseMs(leaseMs))
    return { ok: true, expiresAtMs: write.expiresAtMs }
  }

  #mv(fromPath: string, toPath: string): Answer<'mv'> {
    const { tree } = this.#state
    const from = pathNames(fromPath)
    const to = pathNames(toPath)
    if (from.length === 0) throw invalidPath('/', 'the root cannot be moved')
    const node = tree.find(from)
    if (node === undefined) throw notFound(joinNames(from))
    const there = tree.find(to)
    const { parent, name } =
      there?.kind === 'directory' ? { parent: there, name: node.name } : tree.parentOf(to)
    for (let above: DirectoryNode | undefined = parent; above !== undefined; above = above.parent) {
      if (above === node)
        throw invalidPath(joinNames(to), `it lies inside ${joinNames(from)}, which is to be moved`)
    }
    const occupant = parent.entries.get(name)
    if (occupant !== undefined && occupant !== node) throw alreadyExists(tree.pathOf(occupant))
    if (occupant === undefined) {
      tree.unlink(node, this.#timeMs)
      node.name = name
      tree.link(parent, node, this.#timeMs)
    }
    return { ok: true, path: tree.pathOf(node) }
  }

  #rm(path: string, recursive: boolean): Answer<'rm'> {
    const names = pathNames(path)
    if (names.length === 0) throw invalidPath('/', 'the root cannot be removed; remove what is in it')
    const node = this.#state.tree.find(names)
    if (node === undefined) throw notFound(joinNames(names))
    if (node.kind === 'directory' && node.entries.size > 0 && !recursive) {
      const shown = joinNames(names)
      const count = node.entries.size
      throw new ShoalError(
        'DIRECTORY_NOT_EMPTY',
        { path: shown },
        `${shown} has ${count} entries; remove recursively`,
      )
    }
    return { ok: true, ...this.#state.remove(node, this.#timeMs) }
  }

  #reportHolders(command: ReportHolders): Answer<'report-holders'> {
    const limit = this.#limits.blocksPerCommandMax
    if (command.blocks.length > limit) throw badCommand(command, `at most ${limit} blocks an entry`)
    let changed = 0
    for (const { blockId, add = [], remove = [] } of command.blocks) {
      const block = this.#state.block(blockId)
      if (block === undefined) continue
      const all = [...new Set([...block.holders, ...add])]
      const kept = all.filter(peer => !remove.includes(peer)).slice(0, HOLDERS_MAX)
      // Whoever was last may still have good bytes; forgetting it would lose them for sure.
      if (kept.length === 0) continue
      if (kept.length === block.holders.length && kept.every((peer, at) => peer === block.holders[at]))
        continue
      this.#state.setHolders(block, kept)
      changed++
    }
    return { ok: true, changed }
  }

  #commitOutput(command: CommitOutput): Answer<'commit-output'> {
    const { winner, parts, suffix = '' } = command
    const names = pathNames(command.path)
    const path = joinNames(names)
    const there = this.#state.tree.find(names)
    if (there?.kind === 'directory' && there.winner === winner) return { ok: true, ...sizeOf(there) }
    if (there?.kind === 'directory' && there.winner !== undefined) {
      const details = { path, winner: there.winner }
      throw new ShoalError('ALREADY_COMMITTED', details, `${path} was committed already by ${there.winner}`)
    }
    if (there !== undefined) throw alreadyExists(path)
    const limit = this.#limits.outputPartsMax
    if (winner === '') throw badCommand(command, 'the winner has a name')
    if (parts.length > limit) throw badCommand(command, `an output has at most ${limit} parts`)
    if (pathNames(`/part-00000${suffix}`).length !== 1) throw badCommand(command, 'a suffix has no slash')
    if (new Set(parts.map(part => part.fileId)).size !== parts.length)
      throw badCommand(command, 'a part is named twice')
    const writes = parts.map(part => this.#complete(command, part.fileId, part.blockCount))
    this.#needRoom(this.#state.tree.missingDirectories(names) + parts.length)
    const directory = this.#state.makeDirectories(names, this.#timeMs)
    directory.winner = winner
    for (const [index, write] of writes.entries()) {
      const name = `part-${String(index).padStart(5, '0')}${suffix}`
      this.#state.show(write, directory, name, this.#timeMs)
    }
    return { ok: true, ...sizeOf(directory) }
  }

  #expireLeases(): Answer<'expire-leases'> {
    let expired = 0
    for (const write of this.#state.writes.values()) {
      if (write.expiresAtMs > this.#timeMs) continue
      this.#state.dropWrite(write)
      expired++
    }
    return { ok: true, expired }
  }

  /** The open write, while its lease lasts. */
  #leased(fileId: FileId): OpenWrite {
    const write = this.#state.writes.get(fileId)
    if (write !== undefined && write.expiresAtMs > this.#timeMs) return write
    const path = write?.path ?? `file ${fileId}`
    throw new ShoalError(
      'LEASE_LOST',
      { path },
      `the write of ${path} took too long or was given up; write it again`,
    )
  }

  #complete(command: NamespaceCommand, fileId: FileId, blockCount: number): OpenWrite {
    const write = this.#leased(fileId)
    // Indices are distinct, so the right count with the highest in range means that all are there.
    const all = write.blocks.size === blockCount && write.blocks.keys().every(index => index < blockCount)
    if (!all) throw badCommand(command, `${fileId} has ${write.blocks.size} of ${blockCount} blocks`)
    return write
  }

  #leaseMs(wantedMs: number): number {
    return Math.min(Math.max(wantedMs, 0), this.#limits.leaseMsMax)
  }

  #needRoom(count: number): void {
    const { files, directories } = this.#state.totals
    const limit = this.#limits.entriesMax
    if (files + directories + count <= limit) return
    throw new ShoalError(
      'BUSY',
      { what: 'files and directories', limit },
      `the mesh holds at most ${limit} files`,
    )
  }

  snapshot(): unknown {
    return {
      version: SNAPSHOT_VERSION,
      timeMs: this.#timeMs,
      state: this.#state.snapshot(),
      sessions: this.#sessions.snapshot(),
    }
  }

  restore(snapshot: unknown): void {
    const { version, timeMs, state, sessions } = snapshot as {
      version: number
      timeMs: number
      state: unknown
      sessions: unknown
    }
    invariant(version === SNAPSHOT_VERSION, `a namespace snapshot of version ${version} is known`)
    this.#timeMs = timeMs
    this.#state.restore(state)
    this.#sessions.restore(sessions)
  }

  assertInvariants(): void {
    this.#state.assertInvariants()
    invariant(this.#state.writes.size <= this.#limits.leasesMax, 'open writes are bounded')
    invariant(this.#sessions.size <= this.#limits.sessionsMax, 'sessions are bounded')
  }
}

function sizeOf(directory: DirectoryNode): { files: number; sizeBytes: number } {
  let files = 0
  let sizeBytes = 0
  for (const entry of directory.entries.values()) {
    if (entry.kind === 'directory') continue
    files++
    sizeBytes += entry.sizeBytes
  }
  return { files, sizeBytes }
}

function badCommand(command: NamespaceCommand, reason: string): ShoalError<'BAD_MESSAGE'> {
  return new ShoalError('BAD_MESSAGE', { type: command.type, reason }, `${command.type} refused: ${reason}`)
}
