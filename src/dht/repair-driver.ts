import {
  asFileId,
  toWire,
  withDeadline,
  type AbortOptions,
  type BlockId,
  type PeerId,
} from '../base/index.ts'
import { parseBlockId } from './block-id.ts'
import type { CopyRequest, CopyResult } from './block-service.ts'
import { REPAIR_DEFAULTS, TRASH_AGE_MS, type RepairOptions } from './config.ts'
import type { DhtCommand } from './dht-commands.ts'
import { forget, type FileServicePorts } from './file-ports.ts'
import { blockDelete } from './messages.ts'
import {
  Repair,
  type RepairEffect,
  type RepairEvent,
  type RepairMember,
  type RepairStatus,
} from './repair.machine.ts'
import { slotOf } from './ring.ts'

export interface RepairDriverPorts extends FileServicePorts {
  /** Has a peer check its copy of a block or fetch one (`FileService.askToCopy`). */
  askToCopy(peer: PeerId, request: CopyRequest, options?: AbortOptions): Promise<CopyResult>
}

export interface RepairDriverOptions extends Partial<RepairOptions> {
  /** How often the planner looks at the time: retries, the grace of dead peers, slots still to be scanned. @default 250 */
  tickMs?: number
  /** How often leases that ran out are dropped, when there are open writes at all. @default 30_000 */
  leaseSweepMs?: number
  /** How long removed files stay in the trash. @default 86_400_000 */
  trashAgeMs?: number
}

const TICK_MS = 250
const LEASE_SWEEP_MS = 30_000
/** Looks at the trash within the time that things stay there. */
const TRASH_SWEEPS = 24

/**
 * Runs the repair planner while this peer leads: turns applied commands, membership and finished copies into its
 * events, and performs its effects. Ends the leases of writers that went away, too. A new term starts an empty planner, which finds everything in the replicated state.
 */
export class RepairDriver implements Disposable {
  readonly #ports: RepairDriverPorts
  readonly #options: RepairOptions
  readonly #tickMs: number
  readonly #leaseSweepMs: number
  readonly #trashAgeMs: number
  #trashDueMs = 0
  #run:
    | {
        machine: Repair
        stop: AbortController
        timer: NodeJS.Timeout
        leaseTimer: NodeJS.Timeout
        /** The next slice of its work is asked for. */
        continuing: boolean
      }
    | undefined

  constructor(ports: RepairDriverPorts, options: RepairDriverOptions = {}) {
    const { tickMs = TICK_MS, leaseSweepMs = LEASE_SWEEP_MS, trashAgeMs = TRASH_AGE_MS, ...repair } = options
    this.#ports = ports
    this.#options = { ...REPAIR_DEFAULTS, slotCount: ports.slots().slotCount, ...repair }
    this.#tickMs = tickMs
    this.#leaseSweepMs = leaseSweepMs
    this.#trashAgeMs = trashAgeMs
  }

  /**
   * This peer leads from now on, and what it has applied includes its own term's first entry.
   * @param members all of them, as the log knows them.
   * @param term in which it leads: what it reports is void in another one.
   */
  start(members: readonly RepairMember[], term?: number): void {
    this.stop()
    const views = { slots: this.#ports.slots(), blocks: this.#ports.namespace() }
    const machine = new Repair(this.#options, views, term)
    const timer = setInterval(() => this.#step({ type: 'tick' }), this.#tickMs)
    timer.unref()
    const stop = new AbortController()
    const leaseTimer = setInterval(() => this.#expireLeases(stop.signal), this.#leaseSweepMs)
    leaseTimer.unref()
    this.#run = { machine, stop, timer, leaseTimer, continuing: false }
    this.#step({ type: 'members-changed', members })
  }

  /** It leads no more: copies under way go on at their peers, but nothing follows from them. */
  stop(): void {
    if (this.#run === undefined) return
    clearInterval(this.#run.timer)
    clearInterval(this.#run.leaseTimer)
    this.#run.stop.abort()
    this.#run = undefined
  }

  [Symbol.dispose](): void {
    this.stop()
  }

  /** Call whenever the log changed a member. Without effect on a peer that does not lead. */
  onMembers(members: readonly RepairMember[]): void {
    this.#step({ type: 'members-changed', members })
  }

  /** Call with each command of this folder after it was applied here. Without effect on a peer that does not lead. */
  onApplied(command: DhtCommand): void {
    const slots = this.#run === undefined ? [] : this.#slotsOf(command)
    if (slots.length > 0) this.#step({ type: 'blocks-changed', slots })
  }

  /** What is under way; undefined on a peer that does not lead. */
  status(): RepairStatus | undefined {
    return this.#run?.machine.status()
  }

  /** Without it the blocks of a writer that died would be kept for ever. */
  #expireLeases(signal: AbortSignal): void {
    const namespace = this.#ports.namespace()
    if (namespace.openWrites() > 0) forget(this.#propose({ type: 'expire-leases' }, signal))
    // Log time decides what goes, and stands still while nothing is written: now and then this makes it go on.
    const nowMs = this.#ports.clock.nowMs()
    if (namespace.oldestTrashMs() === undefined || nowMs < this.#trashDueMs) return
    this.#trashDueMs = nowMs + this.#trashAgeMs / TRASH_SWEEPS
    forget(this.#propose({ type: 'expunge', ageMs: this.#trashAgeMs }, signal))
  }

  #step(event: RepairEvent): void {
    const run = this.#run
    if (run === undefined) return
    for (const effect of run.machine.step(event, this.#ports.clock.nowMs())) {
      this.#perform(effect, run.stop.signal).then(
        outcome => {
          // A planner of an earlier term no longer listens.
          if (this.#run === run) this.#step(outcome)
        },
        (error: unknown) => {
          this.#ports.log.error(
            { effect: effect.type, error: toWire(error) },
            'repair could not perform an effect',
          )
        },
      )
    }
    if (!run.machine.isBusy || run.continuing) return
    run.continuing = true
    // Between two slices of its work everybody else gets a turn.
    setImmediate(() => {
      run.continuing = false
      if (this.#run === run) this.#step({ type: 'tick' })
    })
  }

  /** Never rejects for what the network or a peer does; resolves with what the planner must know. */
  async #perform(effect: RepairEffect, signal: AbortSignal): Promise<RepairEvent> {
    switch (effect.type) {
      case 'propose':
        return {
          type: 'proposal-settled',
          id: effect.id,
          accepted: await this.#propose(effect.command, signal),
        }
      case 'copy': {
        const { blockId, to } = effect
        return { type: (await this.#copy(effect, signal)) ? 'copy-finished' : 'copy-failed', blockId, to }
      }
      case 'check': {
        const { blockId, peer } = effect
        const good = await this.#copy({ ...effect, to: peer, urgent: false }, signal)
        return { type: 'check-settled', blockId, peer, good }
      }
      case 'drop':
        await this.#drop(effect.blockId, effect.peer, signal)
        return { type: 'drop-settled', blockId: effect.blockId, peer: effect.peer }
    }
  }

  async #propose(command: DhtCommand, signal: AbortSignal): Promise<boolean> {
    using deadline = withDeadline(`the entry ${command.type}`, this.#options.effectTimeoutMs, signal)
    try {
      const result = await this.#ports.propose(command, { signal: deadline })
      if (!result.ok)
        this.#ports.log.info({ command: command.type, error: result.error }, 'repair was refused')
      return result.ok
    } catch (error) {
      if (!signal.aborted)
        this.#ports.log.info({ command: command.type, reason: String(error) }, 'repair must wait')
      return false
    }
  }

  /** A peer that has a good copy, having read it, copies nothing. */
  async #copy(
    effect: Omit<Extract<RepairEffect, { type: 'copy' }>, 'type'>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { slot, epoch, blockId, sizeBytes, sha256, to, from, urgent } = effect
    try {
      const { copied } = await this.#ports.askToCopy(
        to,
        { blockId, bytes: sizeBytes, sha256, from, fence: { slot, epoch }, urgent },
        { signal },
      )
      this.#ports.log.debug({ block: blockId, to, copied }, 'a copy was made')
      return true
    } catch (error) {
      if (!signal.aborted)
        this.#ports.log.warn({ block: blockId, to, reason: String(error) }, 'a copy failed')
      return false
    }
  }

  /** At most a hint: the receiver decides, and its own collector finds what was missed. */
  async #drop(blockId: BlockId, peer: PeerId, signal: AbortSignal): Promise<void> {
    const { transport, log } = this.#ports
    const appliedIndex = this.#ports.appliedIndex()
    try {
      await transport.call(peer, blockDelete, { blockId, appliedIndex }, { signal })
    } catch (error) {
      log.debug(
        { block: blockId, peer, reason: String(error) },
        'a surplus copy stays until its peer collects it',
      )
    }
  }

  /** Slots whose blocks or holders the command touched; removals need no repair. */
  #slotsOf(command: DhtCommand): number[] {
    const { slotCount } = this.#options
    switch (command.type) {
      case 'add-blocks':
        return command.blocks.map(block => slotOf(command.fileId, block.index, slotCount))
      case 'report-holders':
        return command.blocks.flatMap(({ blockId }) => {
          const name = parseBlockId(blockId)
          return name === undefined ? [] : [slotOf(asFileId(name.fileId), name.index, slotCount)]
        })
      case 'set-replication':
        // Of a whole tree, perhaps: the planner looks at everything once.
        return this.#ports.namespace().slotsWithData()
      case 'slots-assign':
      case 'slot-move-begin':
      case 'slot-move-promote':
      case 'slot-move-retire':
      case 'slot-move-cancel':
      case 'mkdir':
      case 'begin-file':
      case 'commit-file':
      case 'abandon-file':
      case 'extend-lease':
      case 'extend-leases':
      case 'mv':
      case 'rm':
      case 'begin-append':
      case 'undelete':
      case 'expunge':
      case 'set-quota':
      case 'create-snapshot':
      case 'rename-snapshot':
      case 'delete-snapshot':
      case 'set-attributes':
      case 'touch':
      case 'commit-output':
      case 'expire-leases':
        break
    }
    return []
  }
}
