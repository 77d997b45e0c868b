/**
 * A part of the replicated state. Each folder exports one; `src/node` composes them and feeds them the committed log.
 * `apply` is deterministic: it reads no clock and no random source, and an invalid command changes nothing and
 * returns a refusal. The same commands in the same order give the same snapshot on every peer.
 */
export interface SubMachine<Command, Result> {
  apply(command: Command, context: ApplyContext): Result
  /** Plain data (msgpack): everything `restore` needs. */
  snapshot(): unknown
  restore(snapshot: unknown): void
  /** Throws when the state contradicts itself. */
  assertInvariants(): void
}

export interface ApplyContext {
  /** Log index and term of the entry. */
  index: number
  term: number
  /** Log time: milliseconds since the epoch as the leader saw them, monotonic over the log. */
  timeMs: number
}
