/**
 * Every refusal or failure that crosses a boundary has a code and the details that name the thing.
 * Branch on `code`, never on the message. Codes are part of the wire protocol: add, do not rename.
 */
export interface ErrorDetails {
  // Who may talk
  NOT_ADMITTED: { peer?: string; reason: string }
  MESH_MISMATCH: { mine: string; theirs: string }
  PEER_AMNESIA: { peer: string }
  UNREACHABLE: { peer: string; addresses?: string[]; reason?: string }
  CONNECTION_LOST: { peer: string }
  // What was said
  BAD_MESSAGE: { type: string; reason: string }
  UNKNOWN_MESSAGE: { type: string }
  TOO_LARGE: { what: string; bytes: number; limitBytes: number }
  BUSY: { what: string; limit: number }
  TIMEOUT: { what: string; timeoutMs: number }
  CANCELLED: { what: string }
  // Who leads
  NO_QUORUM: { lastLeader?: string; term: number; voters: string[] }
  NOT_LEADER: { leader?: string; term: number }
  STALE_LEADER: { term: number; seen: number }
  STALE_EPOCH: { slot: number; epoch: number; seen: number }
  UNKNOWN_OUTCOME: { what: string }
  // Starting a peer
  DATA_DIR_LOCKED: { directory: string; pid: number }
  DATA_DIR_INVALID: { directory: string; reason: string }
  DATA_DIR_LOST: { directory: string; reason: string }
  PORT_TAKEN: { address: string }
  LOG_CORRUPT: { file: string; offset: number; reason: string }
  DRAIN_REFUSED: { peer: string; reason: string }
  NOT_A_MESH: { directory: string }
  CONFIG_INVALID: { option: string; reason: string }
  NODE_TOO_OLD: { version: string; needed: string }
  // Files
  /** `replaced`: there is a file, but another one than was asked for. */
  NOT_FOUND: { path: string; replaced?: boolean }
  ALREADY_EXISTS: { path: string }
  NOT_A_DIRECTORY: { path: string }
  IS_A_DIRECTORY: { path: string }
  DIRECTORY_NOT_EMPTY: { path: string }
  INVALID_PATH: { path: string; reason: string }
  LEASE_LOST: { path: string }
  WRITE_CONFLICT: { path: string; expiresAtMs: number }
  QUOTA_EXCEEDED: { path: string; what: 'names' | 'bytes'; limit: number; used: number }
  READ_ONLY: { path: string }
  HAS_SNAPSHOTS: { path: string; snapshots: string[] }
  DISK_FULL: { peer: string; freeBytes: number }
  DISK_FAILED: { peer: string; operation: string; reason: string }
  UNDER_REPLICATED: { path: string; acks: number; wanted: number }
  BLOCK_UNAVAILABLE: { path: string; block: number; tried: string[] }
  CORRUPT_REPLICA: { block: string; peer: string }
  LOCAL_FILE: { path: string; reason: string }
  BAD_CONTENT: { path: string; reason: string }
  // Jobs
  CLOSURE_REFUSED: { variable: string; reason: string; file?: string; line?: number }
  VALUE_REFUSED: { value: string; reason: string }
  /** `have`: the version that is there instead of the one wanted. */
  PACKAGE_MISSING: { package: string; peer: string; wanted?: string; have?: string }
  PLAN_INVALID: { reason: string }
  EMPTY_RDD: { action: string }
  ZIP_LENGTHS: { left: number; right: number; partition?: number }
  TASK_FAILED: {
    message: string
    peer: string
    peerName?: string
    stage: number
    partition: number
    attempt: number
    stack?: string
  }
  TASK_OOM: { peer: string; stage: number; partition: number; limitBytes: number }
  TASK_MEMORY: { operator: string; bytes: number; limitBytes: number }
  TASK_TIMEOUT: { peer: string; stage: number; partition: number; timeoutMs: number }
  TASK_NONDETERMINISTIC: { job: string; shuffle: string }
  TASK_POISON: { stage: number; partition: number; peers: string[] }
  /** What a task asked for is in no peer's keeping any more, and its lineage was cut. */
  CHECKPOINT_LOST: { partition: number; operator: string }
  CACHE_FULL: { partition: number; bytes: number }
  KEPT_DAMAGED: { reason: string }
  FETCH_FAILED: { shuffle: string; map: number; peer: string }
  BROADCAST_DESTROYED: { broadcast: string }
  BROADCAST_LOST: { broadcast: string; tried: string[] }
  ACCUMULATOR_READ: { accumulator: string }
  JOB_UNKNOWN: { job: string }
  JOB_CANCELLED: { job: string; reason: string }
  /** Of a detached job: taken before, or its time is over. */
  RESULT_GONE: { job: string }
  ALREADY_COMMITTED: { path: string; winner: string }
  SYNTAX_ERROR: { file: string; line?: number; reason: string }
  // Ours
  INTERNAL: { reason: string }
}

export type ErrorCode = keyof ErrorDetails

/** The plain-data form: `structuredClone` and `postMessage` drop an Error's code, name and class. */
export interface WireError {
  code: ErrorCode
  message: string
  details: Record<string, unknown>
  cause?: WireError
}

export class ShoalError<Code extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'ShoalError'
  readonly code: Code
  readonly details: ErrorDetails[Code]

  /** @param message says what, where, and what to do; defaults to the code with its details. */
  constructor(code: Code, details: ErrorDetails[Code], message?: string, options?: { cause?: unknown }) {
    super(message ?? `${code} ${JSON.stringify(details)}`, options)
    this.code = code
    this.details = details
  }
}

export function hasCode<Code extends ErrorCode>(error: unknown, code: Code): error is ShoalError<Code> {
  return error instanceof ShoalError && error.code === code
}

/** Anything thrown, as plain data; what is not a ShoalError becomes INTERNAL with its message and stack. */
export function toWire(error: unknown): WireError {
  if (error instanceof ShoalError) {
    const wire: WireError = {
      code: error.code,
      message: error.message,
      details: error.details as Record<string, unknown>,
    }
    if (error.cause instanceof ShoalError) wire.cause = toWire(error.cause)
    return wire
  }
  const reason = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return {
    code: 'INTERNAL',
    message: error instanceof Error ? error.message : String(error),
    details: { reason },
  }
}

export function fromWire(wire: WireError): ShoalError {
  const options = wire.cause === undefined ? undefined : { cause: fromWire(wire.cause) }
  return new ShoalError(wire.code, wire.details as ErrorDetails[ErrorCode], wire.message, options)
}

/** Broken invariants are our bugs: they stop the peer rather than let it go on wrong. */
export function invariant(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${claim}`)
}
