import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createLocal } from '../../../../src/rdd/local-runner.ts'
import { waitFor } from '../../../support/wait-for.ts'

const mesh = createLocal()

describe('asynchronous functions', () => {
  test('mapAsync keeps the order of elements, whatever takes longer', async () => {
    const waits = fc.array(fc.nat(5), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(
        waits,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 9 }),
        async (data, s, concurrency) => {
          const doubled = mesh.parallelize(data, s).mapAsync(
            async n => {
              for (let i = 0; i < n; i++) await Promise.resolve()
              return 2 * n
            },
            { concurrency },
          )
          expect(await doubled.filter(n => n > 0).collect()).toEqual(data.map(n => 2 * n).filter(n => n > 0))
        },
      ),
      { numRuns: 25 },
    )
  })

  test('no more calls are under way than allowed, and as many as allowed', async () => {
    const most = await mesh
      .range(0, 40, 1, 1)
      .mapAsync(
        async () => {
          const counters = globalThis as { calls?: number; most?: number }
          counters.calls = (counters.calls ?? 0) + 1
          counters.most = Math.max(counters.most ?? 0, counters.calls)
          await new Promise(resolve => setImmediate(resolve))
          counters.calls--
          return counters.most
        },
        { concurrency: 5 },
      )
      .max()
    expect(most).toBe(5)
    expect(() => mesh.range(3).mapAsync(async n => n, { concurrency: 0 })).toThrow(/concurrency/)
  })

  test('flatMapAsync takes iterables and async iterables', async () => {
    const rdd = mesh.range(0, 4, 1, 2)
    expect(await rdd.flatMapAsync(async n => Array.from({ length: n }, () => n)).collect()).toEqual([
      1, 2, 2, 3, 3, 3,
    ])
    const generated = rdd.flatMapAsync(async function* (n) {
      for (let i = 0; i < n; i++) {
        await Promise.resolve()
        yield `${n}.${i}`
      }
    })
    expect(await generated.collect()).toEqual(['1.0', '2.0', '2.1', '3.0', '3.1', '3.2'])
    // @ts-expect-error a number is no iterable
    await expect(rdd.flatMapAsync(async n => n).count()).rejects.toThrow(/must give an iterable/)
  })

  test('a rejection fails the job with the place in the user file', async () => {
    const failure = mesh
      .range(9)
      .mapAsync(async n => {
        if (n === 4) throw new RangeError('no 4')
        return n
      })
      .count()
    await expect(failure).rejects.toMatchObject({
      code: 'TASK_FAILED',
      message: expect.stringMatching(/no 4.*asynchronous\.test\.ts/s) as string,
    })
    const sync = mesh.range(2).mapAsync((n: number): number => {
      throw new RangeError(`at once ${n}`)
    })
    await expect(sync.count()).rejects.toThrow(/at once 0/)
  })

  test('a take behind it ends the calls early', async () => {
    const local = createLocal()
    const taken = await local
      .range(0, 10_000, 1, 1)
      .mapAsync(async n => {
        if (n > 600) throw new Error('far beyond what was asked for')
        return n
      })
      .take(3)
    expect(taken).toEqual([0, 1, 2])
  })

  test('a promise that never settles does not hold a cancelled job', async () => {
    const abort = new AbortController()
    const hanging = mesh
      .range(3)
      .mapAsync(() => new Promise<number>(() => {}))
      .count({ signal: abort.signal })
    const ended = hanging.catch((error: unknown) => error)
    abort.abort(new Error('enough'))
    expect(await ended).toMatchObject({ message: expect.stringMatching(/enough|cancelled/) as string })
  })

  test('what waits can be shuffled, sorted, zipped, coalesced and cached', async () => {
    const rdd = mesh.range(0, 20, 1, 4).mapAsync(async n => n % 5)
    expect((await rdd.countByValue()).get(3)).toBe(4)
    expect(await rdd.sortBy(n => n).take(5)).toEqual([0, 0, 0, 0, 1])
    expect(await rdd.distinct().count()).toBe(5)
    expect(await rdd.coalesce(2).collect()).toEqual(Array.from({ length: 20 }, (_, n) => n % 5))
    expect(
      await rdd
        .zip(mesh.range(0, 20, 1, 4))
        .map(([m, n]) => n % 5 === m)
        .all(),
    ).toBe(true)
    const cached = rdd.map(n => n + 1).cache()
    expect(await cached.sum()).toBe(await cached.sum())
  })

  test('forEachAsync waits for all calls', async () => {
    const done = globalThis as { ended?: number }
    done.ended = 0
    await mesh.range(0, 30, 1, 3).forEachAsync(async () => {
      await new Promise(resolve => setImmediate(resolve))
      const counters = globalThis as { ended?: number }
      counters.ended = (counters.ended ?? 0) + 1
    })
    expect(done.ended).toBe(30)
  })
})

describe('futures', () => {
  test('give the result, or CANCELLED with the reason', async () => {
    const rdd = mesh.range(0, 10, 1, 2)
    expect(await rdd.countAsync()).toBe(10)
    expect(await rdd.collectAsync()).toEqual(await rdd.collect())
    expect(await rdd.takeAsync(2)).toEqual([0, 1])
    await rdd.forEachPartitionAsync(all => void [...all])
    const waiting = rdd.forEachAsync(() => new Promise(() => {}))
    waiting.cancel('changed my mind')
    await expect(waiting).rejects.toMatchObject({
      code: 'CANCELLED',
      message: expect.stringContaining('changed my mind') as string,
    })
  })
})

describe('pipe', () => {
  test('streams each partition through a process of its own', async () => {
    const rdd = mesh.parallelize(['b', 'a', 'd', 'c'], 2)
    expect(await rdd.pipe('sort').collect()).toEqual(['a', 'b', 'c', 'd'])
    expect(await rdd.pipe(['sort', '-r']).collect()).toEqual(['b', 'a', 'd', 'c'])
    expect(await rdd.pipe('wc -l').map(Number).collect()).toEqual([2, 2])
    expect(await mesh.parallelize<string>([], 1).pipe('cat').collect()).toEqual([])
  })

  test('more than pipes hold goes through, in both directions, with any text', async () => {
    const line = 'ä€😀'.repeat(20)
    const rdd = mesh.range(0, 20_000, 1, 1).map(n => `${n} ${line}`)
    const out = await rdd.pipe('cat').collect()
    expect(out.length).toBe(20_000)
    expect(out[19_999]).toBe(`19999 ${line}`)
  })

  test('words are split as a shell does, without running one', async () => {
    const one = mesh.parallelize(['x'], 1)
    const words = one.pipe(`printf '%s|' "a b" c\\ d 'e"f' "g\\"h" '$HOME' i''j`)
    expect(await words.collect()).toEqual(['a b|c d|e"f|g"h|$HOME|ij|'])
    expect(await one.pipe(['printenv', 'SHOAL_X'], { SHOAL_X: 'here' }).collect()).toEqual(['here'])
    expect(() => one.pipe("echo 'open")).toThrow(/not closed/)
    expect(() => one.pipe('  ')).toThrow(/command/)
  })

  test('a command that fails fails the task with its error output, unless told otherwise', async () => {
    const rdd = mesh.parallelize(['x'], 1)
    await expect(rdd.pipe(['sh', '-c', 'cat; echo bad luck >&2; exit 3']).collect()).rejects.toThrow(
      /sh exited with 3:\nbad luck/,
    )
    expect(await rdd.pipe(['sh', '-c', 'cat; exit 3'], {}, false).collect()).toEqual(['x'])
    await expect(rdd.pipe('no-such-command-here').collect()).rejects.toThrow(
      /cannot start no-such-command-here/,
    )
    await expect(rdd.pipe(['sh', '-c', 'kill -9 $$']).collect()).rejects.toThrow(/killed by SIGKILL/)
  })

  test('a command that reads only the beginning is fine', async () => {
    expect(await mesh.range(0, 300_000, 1, 1).pipe('head -n 2').collect()).toEqual(['0', '1'])
  })

  test('an error while the elements are made is that of the job, and ends the command', async () => {
    const broken = mesh.range(0, 10, 1, 1).map(n => {
      if (n === 5) throw new RangeError('no 5')
      return n
    })
    await expect(broken.pipe('cat').collect()).rejects.toThrow(/no 5/)
  })

  test('the process is killed when nobody wants more of it', async () => {
    const [pid] = await mesh
      .parallelize(['x'], 1)
      .pipe(['sh', '-c', 'echo $$; exec sleep 600'])
      .map(Number)
      .take(1)
    await waitFor('the process to be gone', async () => {
      try {
        process.kill(pid!, 0)
        return false
      } catch {
        return true
      }
    })
  })
})
