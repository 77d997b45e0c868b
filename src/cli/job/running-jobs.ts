import { toWire } from '../../base/errors.ts'
import type { JobEvent, Mesh } from '../../node/index.ts'

/** Until the leader has been told to cancel; the requester's lease ends the job anyway. */
const CANCEL_TIMEOUT_MS = 3_000

/** The jobs that a mesh's program has running: to count them, to wait for the next end, to cancel them all. */
export class RunningJobs implements Disposable {
  readonly #mesh: Mesh
  readonly #ids = new Set<string>()
  readonly #subscription: Disposable

  constructor(mesh: Mesh, onEvent: (event: JobEvent) => void = () => {}) {
    this.#mesh = mesh
    this.#subscription = mesh.onJobEvent(event => {
      if (event.type === 'submitted') this.#ids.add(event.jobId)
      if (event.type === 'settled') this.#ids.delete(event.jobId)
      onEvent(event)
    })
  }

  get count(): number {
    return this.#ids.size
  }

  /** Actions that wait for them reject with JOB_CANCELLED. @returns what went wrong, if the leader could not be told. */
  async cancelAll(reason: string): Promise<string | undefined> {
    const signal = AbortSignal.timeout(CANCEL_TIMEOUT_MS)
    try {
      await Promise.all([...this.#ids].map(id => this.#mesh.cancelJob(id, reason, { signal })))
      return undefined
    } catch (error) {
      return toWire(error).message
    }
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]()
  }
}
