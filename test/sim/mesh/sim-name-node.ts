import { asFileId } from '../../../src/base/index.ts'
import type { BlockId, PeerId } from '../../../src/base/index.ts'
import { parseBlockId, slotOf } from '../../../src/dht/index.ts'
import type { DhtCommand } from '../../../src/dht/index.ts'
import { TRASH_AGE_MS } from '../../../src/dht/config.ts'
import { Repair } from '../../../src/dht/repair.machine.ts'
import type { RepairEffect, RepairEvent } from '../../../src/dht/repair.machine.ts'
import { INTRODUCED } from '../../../src/gossip/member-table.ts'
import type { MemberCommand, MemberRecord } from '../../../src/gossip/messages.ts'
import { repairMember } from '../../../src/node/leader-role.ts'
import type { LogCommand } from '../../../src/node/replicated-state.machine.ts'
import type { MemberProgram } from '../member-program.ts'
import type { Surroundings } from '../world.ts'
import type { Calls, Reply, SimCalls } from './sim-calls.ts'
import type { SimBlocks } from './sim-blocks.ts'
import { SIM_SLOTS } from './mesh-checker.ts'
import type { SimLog } from './sim-log.ts'
import { run } from './task.ts'
import type { Task } from './task.ts'

export interface NameNodeMutant {
  /** A copy counts when it is asked for. */
  countsCopiesUnmade?: boolean
  /** Surplus copies go by the log's word alone: nobody looks whether those that stay are good. */
  dropsUnchecked?: boolean
  /** Old owners are let go as soon as new ones are named, before those have a copy. */
  retiresAtOnce?: boolean
}

const KEEPER_MS = 500
const REPAIR_TICK_MS = 500
const LEASES_MS = 3_000
const COPY_MS = 6_000
const CALL_MS = 2_000

export interface SimNameNodeInit {
  around: Surroundings
  log: SimLog
  calls: Calls
  blocks: SimBlocks
  members: MemberProgram
  mutant: NameNodeMutant
}

/** What only the leader does about members, slots and replicas: the real planner, and drivers as LeaderRole has them. */
export class SimNameNode {
  readonly #init: SimNameNodeInit
  /** Of the present term; a new one starts from the replicated state alone. */
  #repair: Repair | undefined
  /** Counts times of office. */
  #terms = 0
  readonly #underWay = new Set<PeerId>()
  #keptAtMs = 0
  #leasesAtMs = 0
  #tickedAtMs = 0

  constructor(init: SimNameNodeInit) {
    this.#init = init
  }

  leads(leads: boolean): void {
    if (leads === (this.#repair !== undefined)) return
    this.#terms++
    if (!leads) {
      this.#repair = undefined
      return
    }
    const { slots, namespace } = this.#init.log.state
    const options = {
      slotCount: SIM_SLOTS,
      graceMs: 3_000,
      retryMs: 500,
      rescanMs: 10_000,
      effectTimeoutMs: 20_000,
      checkedForMs: 20_000,
    }
    this.#repair = new Repair(options, { slots, blocks: namespace }, this.#init.log.raft.machine.term)
    this.membersChanged()
  }

  applied(command: LogCommand | undefined): void {
    if (this.#repair === undefined || command === undefined) return
    if (command.part !== 'dht') return
    const { type } = command.command
    const { namespace } = this.#init.log.state
    const touched = type === 'set-replication' ? namespace.slotsWithData() : slotsOf(command.command)
    if (touched.length > 0) this.#step({ type: 'blocks-changed', slots: touched })
    this.#retireAtOnce(command.command)
  }

  tick(): void {
    if (this.#repair === undefined) return
    const nowMs = this.#init.around.nowMs()
    if (nowMs - this.#keptAtMs >= KEEPER_MS) {
      this.#keptAtMs = nowMs
      this.#keepMembers()
    }
    if (nowMs - this.#tickedAtMs >= REPAIR_TICK_MS) {
      this.#tickedAtMs = nowMs
      this.#step({ type: 'tick' })
    }
    if (nowMs - this.#leasesAtMs >= LEASES_MS) {
      this.#leasesAtMs = nowMs
      if (this.#init.log.state.namespace.openWrites() > 0)
        run(this.#init.log.propose({ part: 'dht', command: { type: 'expire-leases' } }))
      // Nobody's file ends in these few minutes, whatever the clocks show.
      if (this.#init.log.state.namespace.oldestTrashMs() !== undefined)
        run(this.#init.log.propose({ part: 'dht', command: { type: 'expunge', ageMs: TRASH_AGE_MS } }))
    }
  }

  // ---- Members, as MembersKeeper

  #keepMembers(): void {
    for (const record of this.#init.log.state.members.members()) {
      if (this.#underWay.has(record.peerId)) continue
      const command = this.#commandFor(record)
      if (command === undefined) continue
      this.#underWay.add(record.peerId)
      run(this.#init.log.propose({ part: 'gossip', command }), () => this.#underWay.delete(record.peerId))
    }
  }

  #commandFor(record: MemberRecord): MemberCommand | undefined {
    const { peerId, state } = record
    const { around, members } = this.#init
    const up = state === 'up'
    if (peerId === around.self) return up ? undefined : { type: 'peer-up', peerId }
    const seen = members.machine.member(peerId)
    switch (seen?.state) {
      case 'alive':
        return up ? undefined : { type: 'peer-up', peerId }
      case 'left':
        return state === 'left' ? undefined : { type: 'peer-leave', peerId }
      case 'suspect':
      case 'dead':
        if (!up) return undefined
        if (seen.state === 'dead' && members.machine.mayProposeDown(peerId))
          return { type: 'peer-down', peerId }
        members.step({ type: 'probe-requested', peer: peerId })
        return undefined
      case undefined:
        if (up) this.#introduce(record)
        return undefined
    }
    return undefined
  }

  /** The log names a member that nobody here has heard of, as after all were down at once. */
  #introduce({ peerId, name, addresses, labels }: MemberRecord): void {
    const info = { name, addresses, labels, meta: {} }
    const update = { peerId, incarnation: INTRODUCED, state: 'alive' as const, accusers: [], info }
    this.#init.members.step({ type: 'updates-published', updates: [update] })
  }

  /** In the log, or as gossip sees them. */
  membersChanged(): void {
    const { machine } = this.#init.members
    const members = this.#init.log.state.members
      .members()
      .map(member => ({ ...repairMember(member), quarantined: machine.isQuarantined(member.peerId) }))
    this.#step({ type: 'members-changed', members })
  }

  // ---- Repair, as RepairDriver

  #step(event: RepairEvent): void {
    const repair = this.#repair
    if (repair === undefined) return
    const { around } = this.#init
    const term = this.#terms
    const effects = repair.step(event, around.nowMs())
    if (event.type !== 'tick' || effects.length > 0) around.trace([event, effects])
    repair.assertInvariants()
    for (const effect of effects) {
      run(this.#perform(effect), outcome => {
        // A planner of an earlier term no longer listens.
        if (this.#terms === term) this.#step(outcome)
      })
    }
  }

  *#perform(effect: RepairEffect): Task<RepairEvent> {
    const { log, mutant } = this.#init
    switch (effect.type) {
      case 'propose': {
        const outcome = yield* log.propose({ part: 'dht', command: effect.command })
        return { type: 'proposal-settled', id: effect.id, accepted: outcome.ok && outcome.result.ok }
      }
      case 'copy': {
        const { blockId, to } = effect
        if (mutant.countsCopiesUnmade === true) return { type: 'copy-finished', blockId, to }
        return { type: (yield* this.#copy(to, effect)) ? 'copy-finished' : 'copy-failed', blockId, to }
      }
      case 'check': {
        const { blockId, peer } = effect
        const good = mutant.dropsUnchecked === true || (yield* this.#copy(peer, effect))
        return { type: 'check-settled', blockId, peer, good }
      }
      case 'drop':
        yield* this.#drop(effect.blockId, effect.peer)
        return { type: 'drop-settled', blockId: effect.blockId, peer: effect.peer }
    }
  }

  *#copy(to: PeerId, { blockId, sha256, from }: SimCalls['block-copy']['request']): Task<boolean> {
    const { around, blocks, calls } = this.#init
    const request = { blockId, sha256, from }
    const reply: Reply<'block-copy'> =
      to === around.self ? yield* blocks.copy(request) : yield* calls.call(to, 'block-copy', request, COPY_MS)
    return reply.ok
  }

  *#drop(blockId: BlockId, peer: PeerId): Task<void> {
    const { around, blocks, calls, log } = this.#init
    const request = { blockId, appliedIndex: log.appliedIndex }
    if (peer === around.self) blocks.delete(request)
    else yield* calls.call(peer, 'block-delete', request, CALL_MS)
  }

  #retireAtOnce(command: DhtCommand): void {
    if (this.#init.mutant.retiresAtOnce !== true || command.type !== 'slot-move-begin') return
    const { namespace, slots } = this.#init.log.state
    const rows = command.batch.rows.map(([slot]) => [slot!, slots.row(slot!).epoch])
    const retired = rows.map(([slot, epoch]) => [slot!, epoch! + 1])
    const blocks = rows.flatMap(([slot]) => {
      const { pending } = slots.row(slot!)
      return namespace.blocksInSlot(slot!).map(({ blockId, holders }) => ({
        blockId,
        add: [...pending],
        remove: holders.filter(peer => !pending.includes(peer)),
      }))
    })
    const commands: DhtCommand[] = [
      { type: 'slot-move-promote', batch: { peers: [], rows } },
      { type: 'slot-move-retire', batch: { peers: [], rows: retired } },
      { type: 'report-holders', blocks },
    ]
    for (const each of commands) run(this.#init.log.propose({ part: 'dht', command: each }))
  }
}

/** Slots whose blocks or holders a command touched. */
function slotsOf(command: DhtCommand): number[] {
  if (command.type === 'add-blocks')
    return command.blocks.map(({ index }) => slotOf(command.fileId, index, SIM_SLOTS))
  if (command.type !== 'report-holders') return []
  return command.blocks.flatMap(({ blockId }) => {
    const name = parseBlockId(blockId)
    return name === undefined ? [] : [slotOf(asFileId(name.fileId), name.index, SIM_SLOTS)]
  })
}
