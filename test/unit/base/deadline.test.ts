import { describe, expect, it } from 'vitest'
import { hasCode, raceAbort, sleep, withDeadline } from '../../../src/base/index.ts'

describe('deadlines', () => {
  it('reject with a coded reason that names what was waited for', async () => {
    using deadline = withDeadline('the tide', 5)
    const error: unknown = await sleep(10_000, { signal: deadline }).catch((reason: unknown) => reason)
    expect(hasCode(error, 'TIMEOUT') && error.details.what).toBe('the tide')
  })

  it('pass the reason of the caller’s own signal on', async () => {
    const caller = new AbortController()
    using deadline = withDeadline('the tide', 60_000, caller.signal)
    caller.abort(new Error('changed my mind'))
    await expect(raceAbort(new Promise(() => {}), deadline)).rejects.toThrow('changed my mind')
  })

  it('leave no unhandled rejection behind when the signal was aborted before', async () => {
    const unhandled: unknown[] = []
    const onUnhandled = (reason: unknown): void => void unhandled.push(reason)
    process.on('unhandledRejection', onUnhandled)
    try {
      const late = Promise.withResolvers<void>()
      await expect(raceAbort(late.promise, AbortSignal.abort(new Error('too late')))).rejects.toThrow(
        'too late',
      )
      late.reject(new Error('nobody waits for this'))
      // Rejections are reported once the microtasks of a turn are done.
      await new Promise<void>(resolve => {
        setImmediate(resolve)
      })
      expect(unhandled).toEqual([])
    } finally {
      process.off('unhandledRejection', onUnhandled)
    }
  })
})
