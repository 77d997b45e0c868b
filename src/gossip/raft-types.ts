import type { ErrorCode, PeerId } from '../base/index.ts'

/**
 * Words of the election and the replicated log, as plain data: what peers say to each other, what happens to a
 * machine (events, past tense) and what it wants done (effects, imperative).
 */

interface EntryHead {
  /** Term of the leader that wrote it. */
  term: number
  /** Position in the log; the first entry is 1. */
  index: number
  /** Log time: milliseconds since the epoch as leaders saw them, never going back along the log. */
  timeMs: number
}

export type RaftEntry = EntryHead &
  (
    | { kind: 'no-op' }
    /** The whole new voter set, in force from the moment it is in a log (committed or not: Raft thesis §4.1). */
    | {
        kind: 'config'
        voters: PeerId[]
        /** The one peer that comes or goes had lost its log: what that life of it promised is settled here. */
        settles?: number | undefined
      }
    | { kind: 'command'; data: Uint8Array }
  )

/** What must survive a crash besides entries: a vote given twice in a term could elect two leaders. */
export interface HardState {
  term: number
  votedFor?: PeerId | undefined
}

/**
 * Which life of its log a peer is in. A new one begins when the old log is found damaged and is set aside: from then on
 * the peer `forgot` what it promised, so that its answers count for nothing, until an entry of the log settles it.
 */
export interface LogLife {
  /** Rises with each life of this peer; 0 of a log that was never lost. */
  number: number
  forgot: boolean
}

/** State up to and including `index`, with what the log said about voters and time there. */
export interface SnapshotMeta {
  index: number
  term: number
  timeMs: number
  voters: PeerId[]
}

export interface Snapshot extends SnapshotMeta {
  data: Uint8Array
}

/** What a peer finds on its disk when it starts. */
export interface RaftState {
  hardState: HardState
  /** Absent of a log that was never lost. */
  life?: LogLife | undefined
  snapshot?: SnapshotMeta | undefined
  /** Contiguous; may begin before the snapshot's index (kept for slow followers), never after `snapshot.index + 1`. */
  entries: RaftEntry[]
}

/** Everything of a log that was never written: a joiner, which stays a learner until a leader feeds it. */
export function emptyRaftState(): RaftState {
  return { hardState: { term: 0 }, entries: [] }
}

/**
 * The first state of a new mesh. Written once, by the founder (or, with a genesis file, the same by each founder).
 * Entry 1 is in term 1, in which nobody can campaign, so it is the same entry wherever it is found.
 */
export function genesisRaftState(voters: readonly PeerId[], timeMs: number): RaftState {
  return {
    hardState: { term: 1 },
    entries: [{ kind: 'config', term: 1, index: 1, timeMs, voters: [...voters] }],
  }
}

/** What a follower's answers say of its log's life, when it is not the first. */
export interface LifeTold {
  life?: LogLife | undefined
}

/**
 * Whether a peer should lead, by the room on its disk. `reluctant`: it gives others the time to be elected first.
 */
export type Fitness = 'fit' | 'reluctant' | 'unfit'

export type RaftMessage =
  /** Would you vote for me in `term`? Raises nobody's term (thesis §9.6). */
  | { type: 'pre-vote'; term: number; lastIndex: number; lastTerm: number }
  /** Granted: the term asked for. Refused: the refuser's own. */
  | { type: 'pre-vote-reply'; term: number; granted: boolean }
  /** `transfer`: the leader itself asked for this election, so hearing from it lately is no reason to refuse. */
  | { type: 'vote'; term: number; lastIndex: number; lastTerm: number; transfer?: boolean | undefined }
  | { type: 'vote-reply'; term: number; granted: boolean }
  | {
      type: 'append'
      term: number
      prevIndex: number
      prevTerm: number
      entries: RaftEntry[]
      commit: number
    }
  /** Sent only after everything up to `match` is durable. */
  | ({ type: 'append-reply'; term: number; ok: true; match: number } & LifeTold)
  /** The largest place at which sender and receiver may still agree, so that the leader backs up by terms, not by ones. */
  | ({
      type: 'append-reply'
      term: number
      ok: false
      rejected: number
      hintIndex: number
      hintTerm: number
    } & LifeTold)
  /** `commit` is for the life of the log that the leader knows, the first unless it says another. */
  | { type: 'heartbeat'; term: number; commit: number; round: number; life?: number | undefined }
  /** `unfit`: do not hand leadership over to me. */
  | ({ type: 'heartbeat-reply'; term: number; round: number; unfit?: boolean | undefined } & LifeTold)
  | { type: 'snapshot'; term: number; snapshot: Snapshot }
  | { type: 'timeout-now'; term: number }
  /** How far must I have applied to read what was acknowledged before now? Carries no authority, hence obeys no term. */
  | { type: 'read-index'; term: number; id: string }
  /** Without `index`: refused, ask again (elsewhere). */
  | { type: 'read-index-reply'; term: number; id: string; index?: number | undefined }
  /** A hint on the gossip topic `leader`; never raises a term. */
  | { type: 'leader-here'; term: number; commit: number }

export type MessageOf<Type extends RaftMessage['type']> = Extract<RaftMessage, { type: Type }>

export interface Proposal {
  /** Chosen by the driver, unique in the process. */
  id: number
  data: Uint8Array
}

export type RaftEvent =
  | { type: 'ticked' }
  | { type: 'received'; from: PeerId; message: RaftMessage }
  /** `wallMs` anchors log time at a leader's first proposal. Many proposals in one event share one flush. */
  | { type: 'proposed'; proposals: readonly Proposal[]; wallMs: number }
  | { type: 'voters-proposed'; voters: readonly PeerId[] }
  /** `id` must never repeat, not even after a restart: a late answer to an old question would be a stale read. */
  | { type: 'read-requested'; id: string }
  /** The `persist` effect of this sequence number and all before it are durable. */
  | { type: 'persisted'; seq: number }
  /** Live peers of the mesh; those that are no voters are learners and are fed too. */
  | { type: 'peers-changed'; peers: readonly PeerId[] }
  /** Our connection to that peer is gone: a hint that it died. */
  | { type: 'connection-closed'; peer: PeerId }
  | { type: 'snapshot-taken'; index: number; data: Uint8Array }
  | { type: 'snapshot-sent'; to: PeerId; ok: boolean }
  | { type: 'fitness-changed'; fitness: Fitness }
  /** Hand leadership to that voter (drain, clean shutdown). Ignored unless its log is complete. */
  | { type: 'transfer-requested'; to: PeerId }

export type RaftRole = 'learner' | 'follower' | 'pre-candidate' | 'candidate' | 'leader'

export interface PersistEffect {
  type: 'persist'
  /** Counts up by one for each `persist` of this machine. */
  seq: number
  hardState?: HardState
  /** What this life of the log had forgotten is settled: its answers count again. */
  settled?: boolean
  /** Durable before entries are dropped because of it. */
  snapshot?: Snapshot
  /** After `snapshot`: `reset` drops every entry; `{ keepFrom }` allows dropping those before it. */
  log?: 'reset' | { keepFrom: number }
  /** Drop entries from this index on, before appending. */
  truncateFrom?: number
  entries?: RaftEntry[]
}

export type RaftEffect =
  | PersistEffect
  /** `urgent`: it claims nothing of the disk, and may leave before the `persist`s of earlier steps are durable. */
  | { type: 'send'; to: PeerId; message: RaftMessage; urgent?: true }
  /** Say it on the gossip topic too; whoever it is for may also get it by `send`. */
  | { type: 'publish'; topic: 'leader' | 'vote'; message: RaftMessage }
  /** Send the newest snapshot on disk (at least this one) as a `snapshot` message, then report `snapshot-sent`. */
  | { type: 'send-snapshot'; to: PeerId; term: number; snapshot: SnapshotMeta }
  /** Replace the state machine's state. */
  | { type: 'restore'; snapshot: Snapshot }
  /** In log order, without gaps, each index once per process life. */
  | { type: 'apply'; entries: RaftEntry[] }
  /** Snapshot the state machine, with exactly `index` applied, and report `snapshot-taken`, soon or later. */
  | { type: 'take-snapshot'; index: number }
  /** Comes after the `apply` that holds it, in the same step. */
  | { type: 'proposal-committed'; id: number; index: number }
  | { type: 'proposal-refused'; id: number; code: ProposalRefusal; leader?: PeerId | undefined; term: number }
  | { type: 'read-ready'; id: string; index: number }
  | { type: 'read-refused'; id: string; leader?: PeerId | undefined; term: number }
  | { type: 'voters-committed'; voters: PeerId[]; index: number }
  | { type: 'voters-refused'; voters: PeerId[]; reason: string }
  /** `ready`: leader, and an entry of its own term is committed; only then may it plan, place, change voters or answer reads. */
  | {
      type: 'role-changed'
      role: RaftRole
      term: number
      leader?: PeerId | undefined
      ready: boolean
      /** What made it so, for people. */
      reason: string
    }

/** UNKNOWN_OUTCOME: it was appended, and a later leader may or may not keep it. The others: it was not appended. */
export type ProposalRefusal = Extract<ErrorCode, 'NOT_LEADER' | 'BUSY' | 'TOO_LARGE' | 'UNKNOWN_OUTCOME'>
