import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Splitter, type SplitterOptions } from '../../../src/dht/index.ts'

interface Part {
  text: string
  midLine: boolean
}

function split(input: Uint8Array, options: SplitterOptions, chunkSizes: readonly number[] = []): Part[] {
  const splitter = new Splitter(options)
  const parts: Part[] = []
  let open: Uint8Array[] = []
  const take = (pieces: ReturnType<Splitter['push']>): void => {
    for (const piece of pieces) {
      open.push(piece.bytes)
      if (!piece.cut) continue
      parts.push({ text: Buffer.concat(open).toString('latin1'), midLine: piece.midLine })
      open = []
    }
  }
  let at = 0
  for (const size of chunkSizes) {
    take(splitter.push(input.subarray(at, at + size)))
    at += size
  }
  take(splitter.push(input.subarray(at)))
  take(splitter.finish())
  expect(open).toEqual([])
  return parts
}

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1')
const texts = (parts: Part[]): string[] => parts.map(part => part.text)

/** Text with many line ends and quotes, so that every rule is met. */
const input = fc
  .array(fc.constantFrom('a', 'b', '\n', '"', '\r', '\xff'), { maxLength: 200 })
  .map(characters => bytes(characters.join('')))
const chunking = fc.array(fc.nat(20), { maxLength: 40 })
const sizes = fc.record({ partitionBytes: fc.integer({ min: 1, max: 40 }), extra: fc.nat(60) })
const format = fc.constantFrom('lines' as const, 'csv' as const, 'binary' as const)

describe('splitter', () => {
  it('gives back every byte, in non-empty partitions, wherever the input is chunked', () => {
    fc.assert(
      fc.property(input, chunking, sizes, format, (data, chunks, { partitionBytes, extra }, format) => {
        const options = { format, partitionBytes, partitionBytesMax: partitionBytes + extra }
        const parts = split(data, options, chunks)
        expect(texts(parts).join('')).toBe(Buffer.from(data).toString('latin1'))
        expect(texts(parts)).not.toContain('')
        expect(parts).toEqual(split(data, options))
      }),
    )
  })

  it('ends each partition but the last at the first line end at or beyond its target', () => {
    fc.assert(
      fc.property(input, chunking, fc.integer({ min: 1, max: 40 }), (data, chunks, partitionBytes) => {
        for (const { text } of split(data, { format: 'lines', partitionBytes }, chunks).slice(0, -1)) {
          expect(text.endsWith('\n')).toBe(true)
          expect(text.length).toBeGreaterThanOrEqual(partitionBytes)
          expect(text.slice(partitionBytes - 1, -1)).not.toContain('\n')
        }
      }),
    )
  })

  it('ends a CSV partition only where the quotes before it are even', () => {
    fc.assert(
      fc.property(input, chunking, fc.integer({ min: 1, max: 40 }), (data, chunks, partitionBytes) => {
        const parts = split(data, { format: 'csv', partitionBytes }, chunks)
        for (const { text } of parts.slice(0, -1)) {
          expect(text.endsWith('\n')).toBe(true)
          expect(text.split('"').length % 2).toBe(1)
          for (let at = partitionBytes; at < text.length; at++) {
            const ends = text[at - 1] === '\n' && text.slice(0, at).split('"').length % 2 === 1
            expect(ends).toBe(false)
          }
        }
      }),
    )
  })

  it('keeps a line longer than a partition whole', () => {
    const line = `${'x'.repeat(50)}\n`
    expect(texts(split(bytes(`a\n${line}b\n`), { format: 'lines', partitionBytes: 2 }))).toEqual([
      'a\n',
      line,
      'b\n',
    ])
  })

  it('cuts a line at the hard limit, and says so', () => {
    const parts = split(bytes(`${'x'.repeat(25)}\ny\n`), {
      format: 'lines',
      partitionBytes: 5,
      partitionBytesMax: 10,
    })
    expect(parts).toEqual([
      { text: 'x'.repeat(10), midLine: true },
      { text: 'x'.repeat(10), midLine: true },
      { text: `${'x'.repeat(5)}\n`, midLine: false },
      { text: 'y\n', midLine: false },
    ])
  })

  it('cuts binary at exactly the target size', () => {
    expect(texts(split(bytes('aa\nbb\ncc\nd'), { format: 'binary', partitionBytes: 4 }))).toEqual([
      'aa\nb',
      'b\ncc',
      '\nd',
    ])
  })

  it('makes no partition of nothing and no empty one at the end', () => {
    expect(split(bytes(''), { format: 'lines' })).toEqual([])
    expect(texts(split(bytes('ab\n'), { format: 'lines', partitionBytes: 3 }))).toEqual(['ab\n'])
    expect(texts(split(bytes('abc'), { format: 'binary', partitionBytes: 3 }))).toEqual(['abc'])
  })

  it('copies nothing', () => {
    const chunk = bytes('one\ntwo\n')
    const pieces = new Splitter({ format: 'lines', partitionBytes: 4 }).push(chunk)
    expect(pieces.map(piece => piece.bytes.buffer === chunk.buffer)).toEqual([true, true])
  })
})
