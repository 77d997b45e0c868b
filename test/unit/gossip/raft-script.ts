import { asPeerId } from '../../../src/base/index.ts'
import type { PeerId } from '../../../src/base/index.ts'
import { raftDefaults } from '../../../src/gossip/config.ts'
import type { RaftOptions } from '../../../src/gossip/config.ts'
import { RaftMachine } from '../../../src/gossip/raft.machine.ts'
import type { RaftComponents } from '../../../src/gossip/raft.machine.ts'
import { emptyRaftState, genesisRaftState } from '../../../src/gossip/raft-types.ts'
import type {
  PersistEffect,
  RaftEffect,
  RaftEntry,
  RaftEvent,
  RaftMessage,
  RaftState,
  Snapshot,
} from '../../../src/gossip/raft-types.ts'

interface ScriptPeer {
  id: PeerId
  machine: RaftMachine
  disk: { state: RaftState; snapshot?: Snapshot | undefined }
  /** A slow disk keeps these until `flush`: its first effect is a persist. */
  held: RaftEffect[]
  next: RaftEvent[]
  slow: boolean
  applied: string[]
}

/** Sorts peers by name into early and late to time out, so that scripts know who campaigns first. */
const TIMEOUT_SHARE: Record<string, number> = { a: 0, b: 0.3, c: 0.6, d: 0.8, e: 0.9 }

/**
 * A few machines under a script: every message waits until it is delivered, every effect is told. Commands:
 *
 *   voters a b c          founders of one mesh, with all of them as voters
 *   joiner d              a peer with an empty log
 *   peers a b c d         tells all of them that these are live
 *   option NAME VALUE     of the machines that are made later
 *   tick MS [a b]         lets time pass, then tells it (to these)
 *   deliver [a->b]        one round of what is under way (on that link); what it causes waits
 *   settle                delivers until nothing is under way
 *   drop [a->b]           loses what is under way
 *   cut a b c->d / heal   loses all that these send and get, or all on that link, from now on
 *   run MS [a b]          time passes in ticks of 100 ms, each followed by `settle`; says nothing of it
 *   quietly COMMAND       without saying what it causes
 *   slow a / flush a      the disk of a is busy until flushed
 *   propose a TEXT        · change a VOTERS… · read a ID · closed a b · transfer a b
 *   crash a / restart a   what is not flushed and what is on its way to it is lost
 *   state                 one line a peer
 */
export class RaftScript {
  readonly #peers = new Map<string, ScriptPeer>()
  #wire: { from: PeerId; to: PeerId; message: RaftMessage }[] = []
  #cut = new Set<string>()
  #nowMs = 0
  /** Time passes in leaps: `stallMs` would take them for standing still. */
  #options: RaftOptions = { ...raftDefaults, stallMs: Infinity }
  #out: string[] = []
  #proposalId = 0
  readonly #make: (components: RaftComponents) => RaftMachine

  /** @param make lets a test put in a machine that breaks a rule */
  constructor(make = (components: RaftComponents) => new RaftMachine(components)) {
    this.#make = make
  }

  peer(name: string): ScriptPeer {
    const peer = this.#peers.get(name)
    if (peer === undefined) throw new Error(`no peer ${name}`)
    return peer
  }

  /** Runs one command and returns what it caused, a line each. */
  run(line: string): string[] {
    this.#out = []
    if (line.startsWith('quietly ')) {
      this.#do(line.slice('quietly '.length))
      return []
    }
    this.#do(line)
    return this.#out
  }

  #do(line: string): void {
    const [command = '', ...args] = line.trim().split(/\s+/)
    const name = args[0] ?? ''
    switch (command) {
      case 'voters':
        for (const id of args) this.#add(id, genesisRaftState(args.map(asPeerId), 0))
        break
      case 'joiner':
        this.#add(name, emptyRaftState())
        break
      case 'peers':
        for (const peer of this.#peers.values()) {
          this.#step(peer, { type: 'peers-changed', peers: args.map(asPeerId) })
        }
        break
      case 'option':
        this.#options = { ...this.#options, [name]: Number(args[1]) }
        break
      case 'tick':
        this.#tick(Number(name), args.slice(1))
        break
      case 'run': {
        const told = this.#out.length
        for (let ms = 0; ms < Number(name); ms += 100) {
          this.#tick(100, args.slice(1))
          this.#settle()
        }
        this.#out.length = told
        break
      }
      case 'deliver':
        this.#deliver(args[0])
        break
      case 'settle':
        this.#settle()
        break
      case 'drop':
        this.#wire = this.#wire.filter(({ from, to }) => args.length > 0 && args[0] !== `${from}->${to}`)
        break
      case 'cut':
        for (const id of args) this.#cut.add(id)
        break
      case 'heal':
        this.#cut.clear()
        break
      case 'slow':
        this.peer(name).slow = true
        break
      case 'flush':
        this.#flush(this.peer(name))
        break
      case 'propose':
        this.#step(this.peer(name), {
          type: 'proposed',
          proposals: [{ id: ++this.#proposalId, data: Buffer.from(args.slice(1).join(' ')) }],
          wallMs: 1_000_000 + this.#nowMs,
        })
        break
      case 'change':
        this.#step(this.peer(name), { type: 'voters-proposed', voters: args.slice(1).map(asPeerId) })
        break
      case 'read':
        this.#step(this.peer(name), { type: 'read-requested', id: args[1]! })
        break
      case 'closed':
        this.#step(this.peer(name), { type: 'connection-closed', peer: asPeerId(args[1]!) })
        break
      case 'transfer':
        this.#step(this.peer(name), { type: 'transfer-requested', to: asPeerId(args[1]!) })
        break
      case 'crash':
        this.peer(name).held = []
        this.#wire = this.#wire.filter(({ to }) => to !== name)
        this.#cut.add(name)
        break
      case 'restart':
        this.#cut.delete(name)
        this.#add(name, structuredClone(this.peer(name).disk.state), this.peer(name).disk.snapshot)
        break
      case 'state':
        for (const peer of this.#peers.values()) this.#out.push(describe(peer))
        break
      default:
        throw new Error(`unknown command ${line}`)
    }
  }

  #tick(ms: number, names: readonly string[]): void {
    this.#nowMs += ms
    for (const [id, peer] of this.#peers) {
      if (names.length === 0 || names.includes(id)) this.#step(peer, { type: 'ticked' })
    }
  }

  #settle(): void {
    for (let round = 0; this.#wire.length > 0; round++) {
      if (round > 200) throw new Error('the peers never fall silent')
      this.#deliver(undefined)
    }
  }

  #isCut(from: string, to: string): boolean {
    return this.#cut.has(from) || this.#cut.has(to) || this.#cut.has(`${from}->${to}`)
  }

  #add(name: string, state: RaftState, snapshot?: Snapshot): void {
    const id = asPeerId(name)
    const share = TIMEOUT_SHARE[name] ?? 0.5
    const machine = this.#make({
      self: id,
      state: structuredClone(state),
      random: { next: () => share },
      options: this.#options,
      nowMs: this.#nowMs,
    })
    const applied = snapshot === undefined ? [] : textOf(snapshot.data).split(' ')
    this.#peers.set(name, {
      id,
      machine,
      disk: { state, snapshot },
      held: [],
      next: [],
      slow: false,
      applied,
    })
  }

  #step(peer: ScriptPeer, event: RaftEvent): void {
    const effects = peer.machine.step(event, this.#nowMs)
    peer.machine.assertInvariants()
    this.#perform(peer, effects)
    this.#goOn(peer)
  }

  /** What effects lead to comes after all effects of their step. */
  #goOn(peer: ScriptPeer): void {
    for (let event = peer.next.shift(); event !== undefined; event = peer.next.shift()) {
      const effects = peer.machine.step(event, this.#nowMs)
      peer.machine.assertInvariants()
      this.#perform(peer, effects)
    }
  }

  #perform(peer: ScriptPeer, effects: RaftEffect[]): void {
    if (peer.held.length > 0) {
      peer.held.push(...effects)
      return
    }
    for (const [at, effect] of effects.entries()) {
      if (effect.type === 'persist' && peer.slow) {
        peer.held = effects.slice(at)
        return
      }
      this.#performOne(peer, effect)
    }
  }

  #flush(peer: ScriptPeer): void {
    peer.slow = false
    const held = peer.held
    peer.held = []
    this.#perform(peer, held)
    this.#goOn(peer)
  }

  #performOne(peer: ScriptPeer, effect: RaftEffect): void {
    const { id } = peer
    switch (effect.type) {
      case 'persist':
        this.#out.push(`  ${id} persists ${describePersist(effect)}`)
        persistTo(peer.disk, effect)
        // As a driver does: not inside the step, but before anything else happens.
        peer.next.push({ type: 'persisted', seq: effect.seq })
        break
      case 'send':
        this.#out.push(`  ${id} -> ${effect.to}  ${describeMessage(effect.message)}`)
        this.#send(id, effect.to, effect.message)
        break
      case 'send-snapshot': {
        const { snapshot } = peer.disk
        if (snapshot === undefined) throw new Error(`${id} has no snapshot to send`)
        this.#out.push(`  ${id} -> ${effect.to}  snapshot of ${snapshot.index}`)
        this.#send(id, effect.to, { type: 'snapshot', term: effect.term, snapshot })
        break
      }
      case 'publish':
        this.#out.push(`  ${id} publishes on ${effect.topic}: ${describeMessage(effect.message)}`)
        break
      case 'restore':
        this.#out.push(`  ${id} restores ${effect.snapshot.index}`)
        peer.applied = textOf(effect.snapshot.data).split(' ')
        break
      case 'apply':
        for (const entry of effect.entries)
          if (entry.kind === 'command') peer.applied.push(textOf(entry.data))
        this.#out.push(`  ${id} applies ${effect.entries.map(describeEntry).join(' ')}`)
        break
      case 'take-snapshot': {
        const data = Buffer.from(peer.applied.join(' '))
        peer.next.push({ type: 'snapshot-taken', index: effect.index, data })
        break
      }
      case 'proposal-committed':
        this.#out.push(`  ${id} answers proposal ${effect.id}: committed at ${effect.index}`)
        break
      case 'proposal-refused':
        this.#out.push(
          `  ${id} answers proposal ${effect.id}: ${effect.code} (leader ${effect.leader ?? 'unknown'})`,
        )
        break
      case 'read-ready':
        this.#out.push(`  ${id} answers read ${effect.id}: after ${effect.index}`)
        break
      case 'read-refused':
        this.#out.push(`  ${id} refuses read ${effect.id}`)
        break
      case 'voters-committed':
        this.#out.push(`  ${id} has the voters committed: ${effect.voters.join(' ')}`)
        break
      case 'voters-refused':
        this.#out.push(`  ${id} refuses the change: ${effect.reason}`)
        break
      case 'role-changed': {
        const { role, term, leader, ready } = effect
        this.#out.push(
          `  ${id} is ${role} in term ${term}, leader ${leader ?? 'unknown'}${ready ? ', ready' : ''}`,
        )
        break
      }
    }
  }

  #send(from: PeerId, to: PeerId, message: RaftMessage): void {
    if (!this.#cut.has(from) && !this.#cut.has(to))
      this.#wire.push({ from, to, message: structuredClone(message) })
  }

  #deliver(link: string | undefined): void {
    const due = this.#wire.filter(({ from, to }) => link === undefined || link === `${from}->${to}`)
    this.#wire = this.#wire.filter(sent => !due.includes(sent))
    for (const { from, to, message } of due) {
      if (this.#isCut(from, to)) continue
      this.#step(this.peer(to), { type: 'received', from, message })
    }
  }
}

function persistTo(disk: ScriptPeer['disk'], effect: PersistEffect): void {
  const { state } = disk
  const { hardState, snapshot, log, truncateFrom, entries } = effect
  if (hardState !== undefined) state.hardState = { ...hardState }
  if (snapshot !== undefined) {
    const { data: _, ...meta } = snapshot
    disk.snapshot = snapshot
    state.snapshot = meta
  }
  if (log === 'reset') state.entries = []
  else if (log !== undefined) state.entries = state.entries.filter(entry => entry.index >= log.keepFrom)
  if (truncateFrom !== undefined) state.entries = state.entries.filter(entry => entry.index < truncateFrom)
  if (entries !== undefined) state.entries.push(...entries)
}

function textOf(data: Uint8Array): string {
  return Buffer.from(data).toString()
}

function describe({ id, machine, applied }: ScriptPeer): string {
  const { role, term, votedFor, voters, commitIndex, log } = machine
  const entries = log.slice(log.firstIndex, 100, Infinity).map(describeEntry).join(' ')
  const held = log.firstIndex > 1 ? `from ${log.firstIndex} ` : ''
  return (
    `  ${id} ${role} term ${term} vote ${votedFor ?? '-'} voters ${voters.join('') || '-'} commit ${commitIndex} ` +
    `applied [${applied.join(' ')}] log ${held}${entries || '-'}`
  )
}

function describeEntry(entry: RaftEntry): string {
  const place = `${entry.term}:${entry.index}`
  if (entry.kind === 'no-op') return place
  return entry.kind === 'config' ? `${place}{${entry.voters.join('')}}` : `${place}'${textOf(entry.data)}'`
}

function describePersist({ hardState, snapshot, log, truncateFrom, entries }: PersistEffect): string {
  const parts: string[] = []
  if (hardState !== undefined) parts.push(`term ${hardState.term} vote ${hardState.votedFor ?? '-'}`)
  if (snapshot !== undefined) parts.push(`snapshot of ${snapshot.index}`)
  if (log === 'reset') parts.push('and forgets its log')
  else if (log !== undefined) parts.push(`and may forget what is before ${log.keepFrom}`)
  if (truncateFrom !== undefined) parts.push(`no entries from ${truncateFrom}`)
  if (entries !== undefined) parts.push(entries.map(describeEntry).join(' '))
  return parts.join(', ')
}

function describeMessage(message: RaftMessage): string {
  switch (message.type) {
    case 'pre-vote':
    case 'vote':
      return `${message.type} ${message.term} last ${message.lastTerm}:${message.lastIndex}`
    case 'pre-vote-reply':
    case 'vote-reply':
      return `${message.type} ${message.term} ${message.granted ? 'yes' : 'no'}`
    case 'append': {
      const entries = message.entries.map(describeEntry).join(' ')
      return `append ${message.term} after ${message.prevTerm}:${message.prevIndex} [${entries}] commit ${message.commit}`
    }
    case 'append-reply':
      if (message.ok) return `append-reply ${message.term} has ${message.match}`
      return `append-reply ${message.term} not after ${message.rejected}, perhaps after ${message.hintTerm}:${message.hintIndex}`
    case 'heartbeat':
      return `heartbeat ${message.term} round ${message.round} commit ${message.commit}`
    case 'heartbeat-reply':
      return `heartbeat-reply ${message.term} round ${message.round}`
    case 'snapshot':
      return `snapshot ${message.term} of ${message.snapshot.index}`
    case 'timeout-now':
      return `timeout-now ${message.term}`
    case 'read-index':
      return `read-index ${message.id}`
    case 'read-index-reply':
      return `read-index-reply ${message.id} ${message.index ?? 'refused'}`
    case 'leader-here':
      return `leader-here ${message.term}`
  }
}
