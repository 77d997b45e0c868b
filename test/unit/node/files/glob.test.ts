import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isPattern, nameMatcher, spellings, unescaped } from '../../../../src/node/files/glob.ts'

/** The same meaning, by the obvious translation. */
function asExpression(pattern: string): RegExp {
  const body = pattern.replaceAll(/[*?.]/g, sign => ({ '*': '[^]*', '?': '[^]', '.': '\\.' })[sign] ?? sign)
  return new RegExp(`^${body}$`, 'u')
}

describe('patterns of names', () => {
  it.each([
    ['*.csv', ['a.csv', '.csv'], ['a.csv.gz', 'csv']],
    ['part-?????', ['part-00001'], ['part-1', 'part-000001']],
    ['[a-c]x', ['ax', 'bx', 'cx'], ['dx', 'x', '-x']],
    ['[^a-c]x', ['dx', '^x'], ['ax']],
    ['[!a]', ['b', '!'], ['a', '']],
    ['[]a]', [']', 'a'], ['b']],
    ['[a-]', ['a', '-'], ['b']],
    ['\\*', ['*'], ['a', '\\*']],
    ['[\\]]', [']'], ['\\']],
    ['*', ['', 'a', '.hidden', '😀'], []],
    ['?', ['😀', 'ä'], ['ab']],
  ])('%s', (pattern, fitting, others) => {
    const fits = nameMatcher(pattern)
    for (const name of fitting) expect(fits(name), name).toBe(true)
    for (const name of others) expect(fits(name), name).toBe(false)
  })

  it('agrees with the obvious regular expression', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '?'), maxLength: 12 })
    const name = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 })
    fc.assert(
      fc.property(text, name, (pattern, candidate) => {
        expect(nameMatcher(pattern)(candidate)).toBe(asExpression(pattern).test(candidate))
      }),
      { numRuns: 2_000 },
    )
  })

  it('needs no more than name times pattern steps, where backtracking would never end', () => {
    const startedMs = performance.now()
    expect(nameMatcher(`${'*a'.repeat(100)}*b`)('a'.repeat(255))).toBe(false)
    expect(performance.now() - startedMs).toBeLessThan(1_000)
  })

  it('refuses what is not closed, and says how the character itself is written', () => {
    expect(() => nameMatcher('[ab')).toThrow(/not closed.*\\\[/)
    expect(() => spellings('/a{b,c')).toThrow(/not closed.*\\\{/)
  })
})

describe('braces', () => {
  it.each([
    ['/a', ['/a']],
    ['/{a,b}', ['/a', '/b']],
    ['/{a,b}{1,2}', ['/a1', '/a2', '/b1', '/b2']],
    ['/x{/a,/b/c,}', ['/x/a', '/x/b/c', '/x']],
    ['/{a,{b,c}d}', ['/a', '/bd', '/cd']],
    ['/\\{a,b\\}', ['/\\{a,b\\}']],
  ])('%s', (pattern, expected) => expect(spellings(pattern)).toEqual(expected))

  it('are bounded', () => {
    expect(() => spellings('/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}')).toThrow(
      /more than 1000/,
    )
  })
})

it('a backslash makes a pattern a plain path', () => {
  expect(['/a*', '/a?', '/[a]', '/{a}'].map(isPattern)).toEqual([true, true, true, true])
  expect(isPattern('/a\\*b')).toBe(false)
  expect(unescaped('/a\\*b\\\\')).toBe('/a*b\\')
})
