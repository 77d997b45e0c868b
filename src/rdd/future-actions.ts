import { ShoalError } from '../base/errors.ts'
import { ApproxActions } from './approx-actions.ts'
import type { Elements } from './dataset.ts'
import type { ActionOptions } from './dataset-actions.ts'
import { asyncStep, type AsyncOptions } from './operators/external.ts'

/** A result that is on its way, and can be called off: it rejects with CANCELLED then. */
export interface FutureAction<T> extends Promise<T> {
  cancel(reason?: string): void
}

/** Actions that give something to cancel. All others take a `signal` for the same. */
export abstract class FutureActions<T> extends ApproxActions<T> {
  collectAsync(options: ActionOptions = {}): FutureAction<T[]> {
    return future('collectAsync', options, all => this.collect(all))
  }

  countAsync(options: ActionOptions = {}): FutureAction<number> {
    return future('countAsync', options, all => this.count(all))
  }

  takeAsync(num: number, options: ActionOptions = {}): FutureAction<T[]> {
    return future('takeAsync', options, all => this.take(num, all))
  }

  /** `fn` may wait: so many calls at once in each partition, and all have ended before this does. */
  forEachAsync(
    fn: (element: T) => unknown,
    { concurrency, ...options }: ActionOptions & AsyncOptions = {},
  ): FutureAction<void> {
    const shipped = this.fn(fn, 'forEachAsync')
    const calls = asyncStep(
      this.lineage,
      'forEachAsync',
      shipped,
      concurrency === undefined ? {} : { concurrency },
    )
    return future('forEachAsync', options, async all => {
      await this.derived<never>(calls).count(all)
    })
  }

  forEachPartitionAsync(
    fn: (elements: Elements<T>) => void,
    options: ActionOptions = {},
  ): FutureAction<void> {
    return future('forEachPartitionAsync', options, all => this.forEachPartition(fn, all))
  }
}

function future<T>(
  name: string,
  options: ActionOptions,
  run: (options: ActionOptions) => Promise<T>,
): FutureAction<T> {
  const stop = new AbortController()
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal])
  const cancel = (reason = 'its future was cancelled'): void => {
    const what = `${options.name ?? name}(): ${reason}`
    stop.abort(new ShoalError('CANCELLED', { what }, what))
  }
  return Object.assign(run({ name, ...options, signal }), { cancel })
}
