import { describe, expect, it } from 'vitest'
import { hasCode } from '../../../src/base/index.ts'
import { Tee, type TeeBranch } from '../../../src/dht/tee.ts'

const LIMITS = { queueBytes: 100, replayBytes: 50, stallMs: 50 }

async function take(branch: TeeBranch): Promise<number[]> {
  const bytes: number[] = []
  for await (const chunk of branch) bytes.push(...chunk)
  return bytes
}

describe('tee', () => {
  it('gives every reader all bytes in order', async () => {
    const tee = new Tee(LIMITS)
    const readers = [tee.branch()!, tee.branch()!, tee.branch()!].map(take)
    for (let i = 0; i < 100; i++) await tee.push(Uint8Array.of(i, i + 100))
    tee.end()
    const expected = Array.from({ length: 100 }, (_, i) => [i, i + 100]).flat()
    expect(await Promise.all(readers)).toEqual([expected, expected, expected])
  })

  it('makes the writer wait for the slowest reader', async () => {
    const tee = new Tee({ ...LIMITS, stallMs: 10_000 })
    const fast = take(tee.branch()!)
    const slow = tee.branch()!
    let waiting = true
    const pushed = tee.push(new Uint8Array(100)).then(() => (waiting = false))
    await new Promise(setImmediate)
    expect(waiting).toBe(true)
    await slow.next()
    await pushed
    tee.end()
    expect(await fast).toHaveLength(100)
  })

  it('leaves a reader that stands still behind, and tells it why', async () => {
    const tee = new Tee(LIMITS)
    const fast = take(tee.branch()!)
    const stuck = tee.branch()!
    for (let i = 0; i < 4; i++) await tee.push(new Uint8Array(60))
    tee.end()
    expect(await fast).toHaveLength(240)
    await expect(stuck.next()).rejects.toSatisfy(error => hasCode(error, 'TIMEOUT'))
  })

  it('is more patient when all readers stand still, since then none holds up another', async () => {
    const tee = new Tee({ ...LIMITS, stallMs: 20 })
    const branches = [tee.branch()!, tee.branch()!]
    const startedMs = performance.now()
    await tee.push(new Uint8Array(200))
    expect(performance.now() - startedMs).toBeGreaterThan(90)
    expect(branches.every(branch => branch.closed)).toBe(true)
  })

  it('does not wait for a reader that went away', async () => {
    const tee = new Tee({ ...LIMITS, stallMs: 10_000 })
    const branch = tee.branch()!
    const pushed = tee.push(new Uint8Array(200))
    await branch.return()
    await pushed
    expect(branch.closed).toBe(true)
  })

  it('lets a late reader in only while it keeps every byte so far', async () => {
    const tee = new Tee(LIMITS)
    await tee.push(Uint8Array.of(1, 2, 3))
    const late = take(tee.branch()!)
    await tee.push(new Uint8Array(50))
    expect(tee.replayable).toBe(false)
    expect(tee.branch()).toBeUndefined()
    tee.end()
    expect(await late).toEqual([1, 2, 3, ...new Uint8Array(50)])
  })

  it('lets a late reader in after the end of a short stream', async () => {
    const tee = new Tee(LIMITS)
    await tee.push(Uint8Array.of(7))
    tee.end()
    expect(await take(tee.branch()!)).toEqual([7])
  })

  it('fails all readers at once', async () => {
    const tee = new Tee(LIMITS)
    const branch = tee.branch()!
    const waiting = branch.next()
    tee.fail(new Error('gone'))
    await expect(waiting).rejects.toThrow('gone')
    await expect(branch.next()).rejects.toThrow('gone')
    await expect(tee.push(Uint8Array.of(1))).rejects.toThrow('gone')
  })
})
