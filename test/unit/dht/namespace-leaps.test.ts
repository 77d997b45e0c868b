import { describe, expect, it } from 'vitest'
import { asFileId } from '../../../src/base/index.ts'
import { Namespace, type NamespaceCommand, type NamespaceResult } from '../../../src/dht/index.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000
const fileId = asFileId('ab'.repeat(16))
const session = { clientId: 'ada', seq: 1 }

/** A namespace with a log whose time and term are set by hand. */
class Log {
  namespace = new Namespace({ slotCount: 16 })
  index = 0
  timeMs = 1_000_000
  term = 1

  apply(command: NamespaceCommand): NamespaceResult {
    const { index, term, timeMs } = this
    const result = this.namespace.apply(command, { index, term, timeMs })
    this.index++
    this.namespace.assertInvariants()
    return result
  }

  /** All peers were down, and the first to lead again takes its time from its wall clock. */
  restartedAfter(ms: number): void {
    this.term++
    this.timeMs += ms
    const { namespace } = this
    this.namespace = new Namespace({ slotCount: 16 })
    this.namespace.restore(namespace.snapshot())
  }

  expunge(): number {
    const result = this.apply({ type: 'expunge', ageMs: DAY_MS })
    return result.ok && 'entries' in result ? result.entries : -1
  }
}

function withTrash(): Log {
  const log = new Log()
  log.apply({ type: 'mkdir', path: '/old' })
  log.apply({ type: 'rm', path: '/old', trash: true })
  return log
}

describe('a leap of log time between two terms, as after the whole mesh was down', () => {
  it('ends no lease: the write goes on with nearly all the time that it had', () => {
    const log = new Log()
    log.apply({ type: 'begin-file', path: '/f', fileId, leaseMs: 60_000 })
    log.restartedAfter(DAY_MS)
    expect(log.apply({ type: 'extend-lease', fileId, leaseMs: 60_000 })).toMatchObject({ ok: true })
    log.timeMs += 60_001
    expect(log.apply({ type: 'expire-leases' })).toEqual({ ok: true, expired: 1 })
  })

  it('does not bring a lease back that had ended before', () => {
    const log = new Log()
    log.apply({ type: 'begin-file', path: '/f', fileId, leaseMs: 5_000 })
    log.timeMs += 5_001
    log.apply({ type: 'mkdir', path: '/d' })
    log.restartedAfter(DAY_MS)
    expect(log.apply({ type: 'expire-leases' })).toEqual({ ok: true, expired: 1 })
  })

  it('makes nobody forget what a client was told: its request is not carried out twice', () => {
    const log = new Log()
    const request = { type: 'mkdir', path: '/d', session } as const
    const told = log.apply(request)
    log.restartedAfter(DAY_MS)
    log.apply({ type: 'mkdir', path: '/other', session: { clientId: 'bob', seq: 1 } })
    log.apply({ type: 'rm', path: '/d' })
    expect(log.apply(request)).toEqual(told)
    expect(log.namespace.exists('/d')).toBe(false)
    log.timeMs += HOUR_MS + 1
    log.apply({ type: 'mkdir', path: '/more', session: { clientId: 'bob', seq: 2 } })
    expect(log.apply(request)).toMatchObject({ ok: true })
    expect(log.namespace.exists('/d')).toBe(true)
  })

  it('empties no trash: a removal goes after a day of living', () => {
    const log = withTrash()
    log.timeMs += 12 * HOUR_MS
    expect(log.expunge()).toBe(0)
    log.restartedAfter(DAY_MS)
    expect(log.expunge()).toBe(0)
    log.timeMs += 12 * HOUR_MS
    expect(log.expunge()).toBe(1)
  })

  it('counts only for what lay in the trash by then', () => {
    const log = withTrash()
    log.restartedAfter(DAY_MS)
    log.apply({ type: 'mkdir', path: '/new' })
    log.apply({ type: 'rm', path: '/new', trash: true })
    log.timeMs += DAY_MS - 5_000
    expect(log.expunge()).toBe(1)
    expect(log.namespace.trash().map(({ path }) => path)).toEqual(['/new'])
    log.timeMs += 5_000
    expect(log.expunge()).toBe(1)
  })

  it('may happen a thousand times: nothing goes too soon, and what is remembered of it stays small', () => {
    const log = withTrash()
    const sizeOf = (): number => JSON.stringify(log.namespace.snapshot()).length
    const before = sizeOf()
    for (let leap = 0; leap < 1_000; leap++) {
      log.restartedAfter(DAY_MS)
      expect(log.expunge()).toBe(0)
    }
    expect(sizeOf() - before).toBeLessThan(10_000)
    log.timeMs += DAY_MS
    expect(log.expunge()).toBe(1)
  })

  it('is not what a long time without commands within one term is', () => {
    const log = withTrash()
    log.timeMs += DAY_MS
    expect(log.expunge()).toBe(1)
  })
})
