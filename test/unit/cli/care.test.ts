import { describe, expect, it } from 'vitest'
import { limitOf, modeOf, ownerOf } from '../../../src/cli/files/care.ts'
import { byteLine } from '../../../src/cli/byte-progress.ts'

describe('arguments of quota, chmod and chown', () => {
  it('limits have the units of HDFS', () => {
    expect(['0', '1000', '1k', '10G', '2t'].map(text => limitOf('--bytes', text))).toEqual([
      0,
      1000,
      1024,
      10 * 2 ** 30,
      2 ** 41,
    ])
    expect(limitOf('--bytes', 'none')).toBeNull()
    for (const text of ['', '-1', '1.5g', '10x', 'k', '9999999999p'])
      expect(() => limitOf('--bytes', text), text).toThrow(/^--bytes: it is a number such as/)
  })

  it('modes are octal', () => {
    expect(['644', '0755', '1777'].map(modeOf)).toEqual([0o644, 0o755, 0o1777])
    for (const text of ['8', '64', 'rwx', '99999', '888']) expect(() => modeOf(text), text).toThrow(/octal/)
  })

  it('owners are a user, a group, or both', () => {
    expect(ownerOf('ada')).toEqual({ owner: 'ada' })
    expect(ownerOf('ada:staff')).toEqual({ owner: 'ada', group: 'staff' })
    expect(ownerOf(':staff')).toEqual({ group: 'staff' })
    for (const text of ['', ':', 'a:b:c']) expect(() => ownerOf(text), text).toThrow(/OWNER:GROUP/)
  })
})

it('bytes that were there before say nothing about the speed', () => {
  expect(byteLine('f', 6_000, 10_000, 1_000, 4_000)).toMatch(/ 60% .* 2\.0 KiB\/s, 2\.0 s left$/)
  expect(byteLine('f', 4_000, 10_000, 1_000, 4_000)).toMatch(/ 40% .* 0 B\/s$/)
})
