import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { below, seededRandom, type Random } from '../../../src/base/index.ts'
import {
  checkLinearizable,
  namespaceModel,
  registerModel,
  setModel,
  type Model,
  type Operation,
} from '../../../src/chaos/index.ts'

type Shape = Partial<Operation> & Pick<Operation, 'op'>

/** `call` and `return` in one string: '10-20', or '10-?' of unknown outcome. */
function at(times: string, shape: Shape): Operation {
  const [call, returned] = times.split('-')
  const isKnown = returned !== '?'
  return {
    process: 'a',
    key: 'x',
    input: null,
    call: Number(call),
    return: isKnown ? Number(returned) : null,
    ...shape,
    output: isKnown ? (shape.output ?? { ok: null }) : null,
  }
}

const write = (times: string, input: number): Operation => at(times, { op: 'write', input })
const read = (times: string, value: number | null): Operation =>
  at(times, { op: 'read', output: { ok: value } })
const cas = (times: string, from: number | null, to: number, ok: boolean): Operation =>
  at(times, { op: 'cas', input: { from, to }, output: { ok } })
const verdict = (history: Operation[]): string => checkLinearizable(registerModel, history).verdict

describe('a register', () => {
  test('a read after a write sees it', () => {
    expect(verdict([write('0-10', 1), read('20-30', 1)])).toBe('linearizable')
    expect(verdict([write('0-10', 1), read('20-30', null)])).toBe('violated')
  })

  test('a read beside a write may see it or not, but not first it and then not', () => {
    expect(verdict([write('0-100', 1), read('10-20', null), read('30-40', 1)])).toBe('linearizable')
    expect(verdict([write('0-100', 1), read('10-20', 1), read('30-40', null)])).toBe('violated')
  })

  test('what touches at one instant overlaps', () => {
    expect(verdict([write('0-10', 1), read('10-20', null)])).toBe('linearizable')
  })

  test('an unknown write may take effect long after its call, or never, but not twice', () => {
    expect(verdict([write('0-?', 1), read('50-60', null), read('1000-1010', 1)])).toBe('linearizable')
    expect(verdict([write('0-?', 1), write('5-6', 2), read('50-60', 2)])).toBe('linearizable')
    expect(
      verdict([write('0-?', 1), read('10-20', 1), write('30-40', 2), read('50-60', 2), read('70-80', 1)]),
    ).toBe('violated')
    expect(verdict([read('0-5', 1), write('10-?', 1)])).toBe('violated')
  })

  test('a refused write did nothing', () => {
    const refused = at('0-10', { op: 'write', input: 1, output: { error: 'NO_QUORUM' } })
    expect(verdict([refused, read('20-30', null)])).toBe('linearizable')
    expect(verdict([refused, read('20-30', 1)])).toBe('violated')
  })

  test('of two swaps from the same value one succeeds', () => {
    expect(verdict([cas('0-10', null, 1, true), cas('0-10', null, 2, false)])).toBe('linearizable')
    expect(verdict([cas('0-10', null, 1, true), cas('0-10', null, 2, true)])).toBe('violated')
  })

  test('keys stand for themselves: a violation names its own', () => {
    const other = { ...read('20-30', 7), key: 'y' }
    const result = checkLinearizable(registerModel, [write('0-10', 1), read('20-30', 1), other])
    expect(result).toMatchObject({ verdict: 'violated', parts: 2, undecided: [] })
    expect(result.violations).toEqual([{ part: 'y', prefix: [], stuck: [other], state: 'null' }])
  })

  test('a violation shows how far an order goes and what did not fit', () => {
    const history = [write('0-10', 1), write('20-30', 2), read('40-50', 1)]
    const { violations } = checkLinearizable(registerModel, history)
    expect(violations).toEqual([{ part: 'x', prefix: history.slice(0, 2), stuck: [history[2]], state: '2' }])
  })

  test('an operation that the model does not know is an error, not a verdict', () => {
    expect(() => checkLinearizable(registerModel, [at('0-1', { op: 'delete' })])).toThrow(
      /no operation|not know/,
    )
  })
})

test('a search that is too long says undecided rather than yes or no', () => {
  const history = Array.from({ length: 14 }, (_, i) => write('0-100', i))
  history.push(read('200-210', 99))
  expect(checkLinearizable(registerModel, history, { configurationsMax: 500 })).toMatchObject({
    verdict: 'undecided',
    undecided: ['x'],
    violations: [],
  })
  expect(verdict(history)).toBe('violated')
})

test('a long history of many processes is decided soon', () => {
  const { history } = simulated(seededRandom(7), {
    processes: 8,
    operations: 20_000,
    keys: 1,
    unknown: 0.001,
  })
  const startMs = performance.now()
  expect(verdict(history)).toBe('linearizable')
  expect(performance.now() - startMs).toBeLessThan(10_000)
})

describe('a set', () => {
  const op = (times: string, name: string, ok: boolean): Operation => at(times, { op: name, output: { ok } })

  test('is added to once', () => {
    expect(checkLinearizable(setModel, [op('0-9', 'add', true), op('0-9', 'add', false)]).verdict).toBe(
      'linearizable',
    )
    expect(checkLinearizable(setModel, [op('0-9', 'add', true), op('0-9', 'add', true)]).verdict).toBe(
      'violated',
    )
  })

  test('what was removed is not there', () => {
    const removed = [op('0-9', 'add', true), op('10-19', 'remove', true)]
    expect(checkLinearizable(setModel, [...removed, op('20-29', 'has', false)]).verdict).toBe('linearizable')
    expect(checkLinearizable(setModel, [...removed, op('20-29', 'has', true)]).verdict).toBe('violated')
  })
})

describe('a namespace', () => {
  const file = (times: string, op: string, input: string | null, output?: Operation['output']): Operation =>
    at(times, { op, key: '/d/a', input, ...(output === undefined ? {} : { output }) })
  const on = (key: string, operation: Operation): Operation => ({ ...operation, key })
  const list = (times: string, ...names: string[]): Operation =>
    at(times, { op: 'list', key: '/d', output: { ok: names } })
  const check = (...history: Operation[]): string => checkLinearizable(namespaceModel, history).verdict

  test('a file is created once', () => {
    expect(check(file('0-9', 'create', 'v'), file('0-9', 'create', 'w', { error: 'ALREADY_EXISTS' }))).toBe(
      'linearizable',
    )
    expect(check(file('0-9', 'create', 'v'), file('0-9', 'create', 'w'))).toBe('violated')
    expect(check(file('0-9', 'create', 'w', { error: 'ALREADY_EXISTS' }))).toBe('violated')
  })

  test('reads and sizes are those of the last content', () => {
    const written = [file('0-9', 'create', 'é'), file('10-19', 'overwrite', 'new')]
    expect(check(...written, file('20-29', 'read', null, { ok: 'new' }))).toBe('linearizable')
    expect(check(...written, file('20-29', 'read', null, { ok: 'é' }))).toBe('violated')
    expect(check(written[0]!, file('10-19', 'stat', null, { ok: 2 }))).toBe('linearizable')
    expect(check(written[0]!, file('10-19', 'stat', null, { ok: 1 }))).toBe('violated')
  })

  test('a file is deleted once, and gone then', () => {
    const gone = [file('0-9', 'create', 'v'), file('10-19', 'delete', null)]
    expect(check(...gone, file('20-29', 'read', null, { error: 'NOT_FOUND' }))).toBe('linearizable')
    expect(check(...gone, file('20-29', 'read', null, { ok: 'v' }))).toBe('violated')
    expect(check(...gone, file('20-29', 'delete', null))).toBe('violated')
    expect(check(gone[0]!, file('20-29', 'read', null, { error: 'NOT_FOUND' }))).toBe('violated')
  })

  test('an unknown delete explains a file that is gone, and one that is there', () => {
    const history = [file('0-9', 'create', 'v'), file('10-?', 'delete', null)]
    expect(check(...history, file('20-29', 'read', null, { error: 'NOT_FOUND' }))).toBe('linearizable')
    expect(check(...history, file('20-29', 'read', null, { ok: 'v' }))).toBe('linearizable')
  })

  test('a rename moves the content at one moment', () => {
    const created = file('0-9', 'create', 'v')
    const renamed = file('20-29', 'rename', '/d/b')
    expect(check(created, renamed, on('/d/b', file('30-39', 'read', null, { ok: 'v' })))).toBe('linearizable')
    expect(check(created, renamed, file('30-39', 'read', null, { ok: 'v' }))).toBe('violated')
    // Neither name has it: no moment of one rename shows that.
    const beside = [
      created,
      { ...renamed, return: 100 },
      file('40-49', 'read', null, { error: 'NOT_FOUND' }),
      on('/d/b', file('50-59', 'read', null, { error: 'NOT_FOUND' })),
    ]
    expect(check(...beside)).toBe('violated')
  })

  test('a list shows what was there, all of it and nothing else', () => {
    const created = file('0-9', 'create', 'v')
    expect(check(created, list('10-19', 'a'))).toBe('linearizable')
    expect(check(created, list('10-19'))).toBe('violated')
    expect(check(created, list('10-19', 'a', 'phantom'))).toBe('violated')
    expect(check(created, at('10-19', { op: 'list', key: '/d', output: { error: 'NOT_FOUND' } }))).toBe(
      'violated',
    )
    expect(check(created, at('10-19', { op: 'list', key: '/other', output: { ok: [] } }))).toBe(
      'linearizable',
    )
  })

  test('an error that is none of the namespace says only that nothing was changed', () => {
    const refused = file('0-9', 'create', 'v', { error: 'NO_QUORUM' })
    expect(check(refused, file('10-19', 'read', null, { error: 'NOT_FOUND' }))).toBe('linearizable')
    expect(check(refused, file('10-19', 'read', null, { ok: 'v' }))).toBe('violated')
  })
})

// ---- the checker itself, against a naive one and against planted lies ----

interface Plan {
  processes: number
  operations: number
  keys: number
  /** Share of operations that end without an answer. */
  unknown: number
}

/** What concurrent processes would see of one real register: each operation takes effect at a moment of its own. */
function simulated(random: Random, plan: Plan): { history: Operation[] } {
  const pending: { operation: Operation; effectNs: number; isLost: boolean }[] = []
  const freeNs = Array.from({ length: plan.processes }, () => 0)
  for (let i = 0; i < plan.operations; i++) {
    const process = freeNs.indexOf(Math.min(...freeNs))
    const call = freeNs[process]! + below(random, 30)
    const effectNs = call + below(random, 100)
    const returned = effectNs + below(random, 100)
    freeNs[process] = returned + 1
    const isUnknown = random.next() < plan.unknown
    const kind = below(random, 3)
    pending.push({
      effectNs,
      isLost: isUnknown && random.next() < 0.5,
      operation: {
        process: String(process),
        op: ['read', 'write', 'cas'][kind]!,
        key: `k${below(random, plan.keys)}`,
        input: kind === 0 ? null : kind === 1 ? i : { from: below(random, i + 1), to: i },
        output: isUnknown ? null : { ok: null },
        call,
        return: isUnknown ? null : returned,
      },
    })
  }
  const values = new Map<string, unknown>()
  for (const { operation, isLost } of pending.toSorted((a, b) => a.effectNs - b.effectNs)) {
    const { op, key, input } = operation
    const value = values.get(key) ?? null
    let ok: unknown = null
    if (op === 'read') ok = value
    if (op === 'write' && !isLost) values.set(key, input)
    if (op === 'cas') {
      const { from, to } = input as { from: number; to: number }
      ok = value === from
      if (value === from && !isLost) values.set(key, to)
    }
    if (operation.output !== null) operation.output = { ok: ok as number | boolean | null }
  }
  return { history: pending.map(({ operation }) => operation) }
}

/** Every order of every choice of unknown operations, each tried to the end. */
function naive<State>(model: Model<State>, history: readonly Operation[]): boolean {
  const go = (state: State, left: readonly Operation[]): boolean => {
    if (left.every(({ output }) => output === null)) return true
    return left.some(next => {
      const isTooEarly = left.some(
        other => other !== next && other.return !== null && other.return < next.call,
      )
      if (isTooEarly) return false
      const after = model.step(state, next)
      return (
        after !== undefined &&
        go(
          after,
          left.filter(other => other !== next),
        )
      )
    })
  }
  return go(model.init(), history)
}

const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 })

test('what one real register shows is always linearizable', () => {
  fc.assert(
    fc.property(seeds, fc.integer({ min: 1, max: 6 }), (seed, processes) => {
      const plan = { processes, operations: 60, keys: 2, unknown: 0.1 }
      const { history } = simulated(seededRandom(seed), plan)
      expect(checkLinearizable(registerModel, history).verdict).toBe('linearizable')
    }),
    { numRuns: 200 },
  )
})

test('on small histories of anything it agrees with trying every order', () => {
  const outcomes = { linearizable: 0, violated: 0 }
  const anything = fc.array(
    fc.record({
      kind: fc.constantFrom('read', 'write', 'cas'),
      value: fc.constantFrom(null, 1, 2),
      other: fc.constantFrom(1, 2),
      ok: fc.boolean(),
      call: fc.integer({ min: 0, max: 12 }),
      lasts: fc.integer({ min: 0, max: 8 }),
      isUnknown: fc.integer({ min: 0, max: 4 }).map(n => n === 0),
    }),
    { minLength: 1, maxLength: 6 },
  )
  fc.assert(
    fc.property(anything, shapes => {
      const history = shapes.map(({ kind, value, other, ok, call, lasts, isUnknown }) =>
        at(`${call}-${isUnknown ? '?' : call + lasts}`, {
          op: kind,
          input: kind === 'read' ? null : kind === 'write' ? other : { from: value, to: other },
          output: { ok: kind === 'read' ? value : kind === 'write' ? null : ok },
        }),
      )
      const { verdict } = checkLinearizable(registerModel, history)
      expect(verdict).toBe(naive(registerModel, history) ? 'linearizable' : 'violated')
      if (verdict !== 'undecided') outcomes[verdict]++
    }),
    { numRuns: 3_000 },
  )
  // Neither answer is a rarity among them, or the agreement would say little.
  expect(Math.min(outcomes.linearizable, outcomes.violated)).toBeGreaterThan(300)
})

test('on small histories of files, with renames and lists, it agrees with trying every order', () => {
  const outcomes = { linearizable: 0, violated: 0 }
  const paths = fc.constantFrom('/d/a', '/d/b')
  const anything = fc.array(
    fc.record({
      op: fc.constantFrom('create', 'overwrite', 'delete', 'rename', 'read', 'list'),
      key: paths,
      other: paths,
      value: fc.constantFrom('1', '2'),
      error: fc.constantFrom(undefined, undefined, 'NOT_FOUND', 'ALREADY_EXISTS'),
      names: fc.subarray(['a', 'b']),
      call: fc.integer({ min: 0, max: 12 }),
      lasts: fc.integer({ min: 0, max: 8 }),
      isUnknown: fc.integer({ min: 0, max: 4 }).map(n => n === 0),
    }),
    { minLength: 1, maxLength: 6 },
  )
  fc.assert(
    fc.property(anything, shapes => {
      // One rename joins both files, so that the whole is one part and a list one moment: as the naive one sees it.
      const joined = at('0-?', { op: 'rename', key: '/d/a', input: '/d/a' })
      const bound = at('99-?', { op: 'rename', key: '/d/a', input: '/d/b' })
      const history = shapes.map(({ op, key, other, value, error, names, call, lasts, isUnknown }) =>
        at(`${call}-${isUnknown ? '?' : call + lasts}`, {
          op,
          key: op === 'list' ? '/d' : key,
          input: op === 'rename' ? other : op === 'create' || op === 'overwrite' ? value : null,
          output:
            op === 'list'
              ? { ok: names }
              : error !== undefined
                ? { error }
                : { ok: op === 'read' ? value : null },
        }),
      )
      const whole = [joined, ...history, bound]
      const { verdict } = checkLinearizable(namespaceModel, whole)
      const asOne = [...namespaceModel.split(whole).values()]
      expect(asOne).toHaveLength(1)
      expect(verdict).toBe(naive(namespaceModel, asOne[0]!) ? 'linearizable' : 'violated')
      if (verdict !== 'undecided') outcomes[verdict]++
    }),
    { numRuns: 3_000 },
  )
  expect(Math.min(outcomes.linearizable, outcomes.violated)).toBeGreaterThan(300)
})

test('dozens of unknown outcomes on one file do not stop the search', () => {
  const history: Operation[] = []
  let ns = 0
  for (let i = 0; i < 40; i++) {
    const path = `/d/${'ab'[i % 2]}`
    const other = `/d/${'ba'[i % 2]}`
    const kinds: Shape[] = [
      { op: 'create', input: `v${i}` },
      { op: 'overwrite', input: `w${i}` },
      { op: 'delete' },
      { op: 'rename', input: other },
    ]
    history.push(at(`${ns}-?`, { ...kinds[i % 4]!, key: path }))
    history.push(at(`${ns + 5}-${ns + 9}`, { op: 'read', key: path, output: { error: 'NOT_FOUND' } }))
    ns += 10
  }
  expect(checkLinearizable(namespaceModel, history).verdict).toBe('linearizable')
  // Nobody can have seen this: so every order has to be looked at, and is.
  history.push(at(`${ns}-${ns + 5}`, { op: 'read', key: '/d/a', output: { ok: 'never written' } }))
  const { verdict, configurations } = checkLinearizable(namespaceModel, history)
  expect(verdict).toBe('violated')
  expect(configurations).toBeLessThan(500_000)
})

describe('a planted lie is found', () => {
  /** A history in which each lie can be placed: writes of distinct values, and one read after each. */
  function honest(seed: number): Operation[] {
    const random = seededRandom(seed)
    const history: Operation[] = []
    let ns = 0
    for (let i = 1; i <= 20; i++) {
      history.push(write(`${ns}-${ns + 10}`, i))
      history.push({ ...read(`${ns + 20}-${ns + 30}`, i), process: `r${below(random, 3)}` })
      history.push({ ...read(`${ns + 25}-${ns + 35}`, i), process: 's' })
      ns += 40
    }
    return history
  }
  const readsOf = (history: Operation[], value: number): number =>
    history.findIndex(
      ({ op, output }) => op === 'read' && output !== null && 'ok' in output && output.ok === value,
    )

  const lies: [string, (history: Operation[]) => Operation[]][] = [
    ['a stale read', h => h.with(readsOf(h, 9), { ...h[readsOf(h, 9)]!, output: { ok: 8 } })],
    [
      'a read of what is not written yet',
      h => h.with(readsOf(h, 9), { ...h[readsOf(h, 9)]!, output: { ok: 10 } }),
    ],
    ['a lost write', h => h.filter(({ op, input }) => !(op === 'write' && input === 9))],
    [
      'an acknowledged write that never shows',
      h =>
        h.map(o =>
          o.op === 'read' && o.output !== null && 'ok' in o.output && o.output.ok === 9
            ? { ...o, output: { ok: 8 } }
            : o,
        ),
    ],
    [
      'a write applied twice',
      h => [
        ...h,
        read(`${h.at(-1)!.call + 100}-${h.at(-1)!.call + 110}`, 20),
        read(`${h.at(-1)!.call + 120}-${h.at(-1)!.call + 130}`, 3),
      ],
    ],
    [
      'two writes in the wrong order',
      h =>
        h.map(o =>
          o.op === 'write' && (o.input === 9 || o.input === 10) ? { ...o, input: o.input === 9 ? 10 : 9 } : o,
        ),
    ],
    [
      'a refusal that did happen',
      h => h.map(o => (o.op === 'write' && o.input === 9 ? { ...o, output: { error: 'NO_QUORUM' } } : o)),
    ],
    [
      'an answer before the call it depends on',
      h =>
        h.map(o =>
          o.op === 'write' && o.input === 9 ? { ...o, call: o.call + 1_000, return: o.call + 1_010 } : o,
        ),
    ],
  ]
  test('the history without it is fine', () => {
    for (let seed = 0; seed < 20; seed++) expect(verdict(honest(seed))).toBe('linearizable')
  })
  test.each(lies)('%s', (_name, lie) => {
    for (let seed = 0; seed < 20; seed++) expect(verdict(lie(honest(seed)))).toBe('violated')
  })
})
