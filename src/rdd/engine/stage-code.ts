import { ENGINE } from './config.ts'

/**
 * What was compiled for one job in this thread, by stage and branch. Compiling per task would cost more than small
 * tasks themselves, sharing between jobs would share type feedback.
 */
export class StageCode {
  readonly #made = new Map<string, unknown>()

  /** What `make` returned the first time that this key was asked for. */
  once<T>(key: string, make: () => T): T {
    const known = this.#made.get(key)
    if (known !== undefined) return known as T
    if (this.#made.size >= ENGINE.pipelinesMax) this.#made.clear()
    const made = make()
    this.#made.set(key, made)
    return made
  }
}
