import { deepStrictEqual } from 'node:assert'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { firstByteOf, TextLines } from '../../../../src/rdd/engine/text-lines.ts'
import { TaskMemory } from '../../../../src/rdd/engine/task-memory.ts'
import { collect, MemoryPorts, PlanMaker } from './plan-support.ts'

/** What lines are: separated by \n, a \r before it belongs to it, the last one may lack it. */
function naiveLines(text: string): string[] {
  const lines = text.split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines.map(line => (line.endsWith('\r') ? line.slice(0, -1) : line))
}

async function read(
  bytes: Uint8Array,
  cuts: readonly number[],
  options: { chunkBytes: number; asynchronous: boolean; gathered?: boolean },
): Promise<unknown[][]> {
  const maker = new PlanMaker()
  const bounds = [0, ...cuts.map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  const splits = bounds.slice(1).map((end, i) => ({
    fileId: 'file',
    block: 0,
    blockId: 'block',
    start: bounds[i]!,
    end,
    blockBytes: bytes.length,
  }))
  const parent = maker.node({ op: 'textFile', path: '/text', partitions: splits.length, splits })
  const fn = maker.fn((lines: Iterable<string>) => lines)
  const steps = options.gathered === true ? [{ op: 'mapPartitions' as const, fn }] : []
  maker.node({ op: 'steps', partitions: splits.length, parent, steps })
  return collect(maker, new MemoryPorts({ blocks: { block: bytes }, ...options }))
}

const text = fc.oneof(
  fc
    .array(fc.constantFrom('a', 'bc', '\n', '\r', '\r\n', 'ä', '€', '😀', ' '), { maxLength: 60 })
    .map(parts => parts.join('')),
  fc.string(),
)

describe('text lines', () => {
  it('every line is read once, by the split in which it begins, whatever the splits and chunks', async () => {
    const cuts = fc.array(fc.nat(), { maxLength: 5 })
    const chunkBytes = fc.integer({ min: 1, max: 20 })
    await fc.assert(
      fc.asyncProperty(
        text,
        cuts,
        chunkBytes,
        fc.boolean(),
        fc.boolean(),
        async (content, at, size, asynchronous, gathered) => {
          const bytes = Buffer.from(content)
          const partitions = await read(bytes, at, { chunkBytes: size, asynchronous, gathered })
          deepStrictEqual(partitions.flat(), naiveLines(bytes.toString()))
          const starts = lineStarts(bytes)
          const bounds = [0, ...at.map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
          deepStrictEqual(
            partitions.map(lines => lines.length),
            bounds
              .slice(1)
              .map((end, i) => starts.filter(start => start >= bounds[i]! && start < end).length),
          )
        },
      ),
      { numRuns: 300 },
    )
  })

  it('invalid UTF-8 becomes U+FFFD and never swallows a line end', async () => {
    const bytes = Buffer.from([0x61, 0xff, 0x0a, 0xe2, 0x82, 0x0a, 0x62])
    deepStrictEqual(await read(bytes, [], { chunkBytes: 4, asynchronous: false }), [
      ['a\ufffd', '\ufffd', 'b'],
    ])
  })

  it('cuts text into pieces of about 64 KiB at line ends, longer lines whole', () => {
    const lines = Array.from({ length: 3000 }, (_, i) => `${i} ${'x'.repeat(i % 100)}`)
    lines.splice(1500, 0, 'y'.repeat(200_000))
    const bytes = Buffer.from(lines.join('\n'))
    const reader = new TextLines({ start: 0, end: bytes.length }, new TaskMemory(1 << 30).holding('textFile'))
    const pieces = [...reader.push(bytes), ...reader.end()]
    expect(pieces.join('')).toBe(bytes.toString())
    for (const piece of pieces.slice(0, -1)) expect(piece.endsWith('\n')).toBe(true)
    expect(pieces.filter(piece => piece.length > 65_536).length).toBe(1)
    expect(pieces.length).toBeLessThan(10)
  })

  it('stops asking for bytes once its last line is whole', () => {
    const bytes = Buffer.from('one\ntwo\nthree\nfour\n')
    const range = { start: 1, end: 5 }
    const reader = new TextLines(range, new TaskMemory(1 << 30).holding('textFile'))
    const pieces: string[] = []
    let pushed = 0
    for (let at = firstByteOf(range); !reader.done; at++) {
      pieces.push(...reader.push(bytes.subarray(at, at + 1)))
      pushed = at
    }
    expect(pieces.join('')).toBe('two\n')
    expect(pushed).toBe(7)
  })
})

function lineStarts(bytes: Uint8Array): number[] {
  const starts: number[] = []
  for (let i = 0; i < bytes.length; i++) if (i === 0 || bytes[i - 1] === 0x0a) starts.push(i)
  return starts
}
