import { describe, expect, it } from 'vitest'
import { normalisePath, pathNames } from '../../../src/dht/index.ts'

describe('paths', () => {
  it.each([
    ['/', '/'],
    ['/a/b', '/a/b'],
    ['//a///b//', '/a/b'],
    ['/./a/./b/.', '/a/b'],
    ['/a b/ü=?#%', '/a b/ü=?#%'],
    ['/...', '/...'],
  ])('%s is %s', (path, normal) => {
    expect(normalisePath(path)).toBe(normal)
  })

  it.each([
    ['', /absolute/],
    ['a/b', /absolute/],
    ['/a/../b', /\.\./],
    ['/a\0b', /NUL/],
    ['/\ud800', /surrogate/],
    [`/${'x'.repeat(256)}`, /256 bytes/],
    [`/${'ü'.repeat(128)}`, /256 bytes/],
    ['/x'.repeat(2049), /4098 bytes/],
  ])('refuses %j', (path, reason) => {
    expect(() => normalisePath(path)).toThrow(
      expect.objectContaining({ code: 'INVALID_PATH', message: expect.stringMatching(reason) }),
    )
  })

  it('counts bytes as UTF-8 does', () => {
    expect(pathNames(`/${'x'.repeat(255)}`)).toHaveLength(1)
    expect(pathNames(`/${'ü'.repeat(127)}`)).toHaveLength(1)
    expect(pathNames(`/${'🐟'.repeat(63)}`)).toHaveLength(1)
    expect(() => pathNames(`/${'🐟'.repeat(64)}`)).toThrow('256 bytes')
    expect(() => pathNames(`/${'語'.repeat(86)}`)).toThrow('258 bytes')
  })

  it('keeps two spellings of one letter apart', () => {
    expect(normalisePath('/e\u0301')).not.toBe(normalisePath('/\u00e9'))
  })
})
