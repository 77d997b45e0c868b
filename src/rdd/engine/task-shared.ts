import { ShoalError } from '../../base/errors.ts'
import {
  AccumulatorShare,
  encodeUpdates,
  type AccumulatorKind,
  type AccumulatorUpdates,
} from '../accumulator.ts'
import type { SharedPort, ShippedHandle } from '../closure/index.ts'
import type { TaskPorts } from '../task.ts'

/**
 * The shared variables of one job in one worker: handles are made with its functions and stay as these do, shares of
 * accumulators belong to the attempt that runs.
 */
export class TaskShared implements SharedPort {
  readonly #shares = new Map<string, AccumulatorShare>()
  #ports: TaskPorts | undefined

  /** An attempt begins; what one before it left goes. */
  begin(ports: TaskPorts): void {
    this.#ports = ports
    for (const share of this.#shares.values()) share.take()
  }

  /** What the attempt added; undefined for nothing. @throws VALUE_REFUSED when it is too much */
  updates(): Uint8Array | undefined {
    const updates: AccumulatorUpdates = []
    for (const [id, share] of this.#shares) if (share.begun) updates.push([id, share.take()])
    return updates.length === 0 ? undefined : encodeUpdates(updates)
  }

  handle(what: ShippedHandle['what'], id: string, of: unknown): object {
    if (what === 'broadcast') {
      return new TaskBroadcast(id, () => {
        if (this.#ports?.broadcast === undefined)
          throw new ShoalError('BROADCAST_LOST', { broadcast: id, tried: [] })
        return this.#ports.broadcast(id)
      })
    }
    let share = this.#shares.get(id)
    if (share === undefined) this.#shares.set(id, (share = new AccumulatorShare(of as AccumulatorKind)))
    return new TaskAccumulator(id, share)
  }
}

class TaskBroadcast {
  readonly id: string
  readonly #read: () => unknown
  #value: { is: unknown } | undefined

  constructor(id: string, read: () => unknown) {
    this.id = id
    this.#read = read
  }

  get value(): unknown {
    this.#value ??= { is: this.#read() }
    return this.#value.is
  }

  unpersist(): void {
    throw requesterOnly('unpersist()')
  }

  destroy(): void {
    throw requesterOnly('destroy()')
  }
}

class TaskAccumulator {
  readonly id: string
  readonly #share: AccumulatorShare

  constructor(id: string, share: AccumulatorShare) {
    this.id = id
    this.#share = share
  }

  add(term: unknown): void {
    this.#share.add(this.id, term)
  }

  get value(): never {
    throw new ShoalError(
      'ACCUMULATOR_READ',
      { accumulator: this.id },
      'an accumulator cannot be read in a task, which knows its own share only: read .value where the action was called, ' +
        'when it has resolved',
    )
  }
}

function requesterOnly(what: string): ShoalError<'VALUE_REFUSED'> {
  const reason = 'it is called where the broadcast was made, not in a task'
  return new ShoalError('VALUE_REFUSED', { value: what, reason }, `${what} of a broadcast: ${reason}`)
}
