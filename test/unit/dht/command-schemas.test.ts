import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asFileId, asPeerId, pack, unpack } from '../../../src/base/index.ts'
import {
  blockIdOf,
  dhtCommandSchema,
  isSlotCommand,
  Namespace,
  slotBatch,
  SlotTable,
  type DhtCommand,
} from '../../../src/dht/index.ts'

const fileId = asFileId('0123456789abcdef'.repeat(2))
const otherId = asFileId('e'.repeat(32))
const session = { clientId: 'c', seq: 1 }
const blockId = blockIdOf(fileId, 0, 'a1')
const block = { index: 0, blockId, sizeBytes: 1, sha256: 'ab'.repeat(32), holders: [asPeerId('ada')] }
const commands: DhtCommand[] = [
  { type: 'mkdir', path: '/a', parents: true, session },
  {
    type: 'begin-file',
    path: '/a/f',
    fileId,
    leaseMs: 10,
    overwrite: true,
    parents: true,
    format: 'csv',
    replication: 2,
    partitionBytes: 5,
  },
  { type: 'add-blocks', fileId, blocks: [{ ...block, lines: 3, midLine: true }] },
  { type: 'extend-lease', fileId, leaseMs: 10 },
  { type: 'commit-file', fileId, blockCount: 1, session: { clientId: 'c', seq: 2 } },
  {
    type: 'report-holders',
    blocks: [
      { blockId, add: [asPeerId('bob')] },
      { blockId, remove: [asPeerId('ada')] },
    ],
  },
  { type: 'abandon-file', fileId },
  { type: 'mv', from: '/a/f', to: '/g' },
  { type: 'commit-output', path: '/out', winner: 'w', parts: [], suffix: '.txt' },
  { type: 'commit-output', path: '/out', winner: 'w', parts: [], gathered: { directory: '/d', files: 2 } },
  { type: 'rm', path: '/a', recursive: true },
  { type: 'mkdir', path: '/d' },
  { type: 'touch', path: '/d/t', fileId: otherId, modifiedMs: 1, create: true },
  { type: 'begin-append', path: '/d/t', leaseMs: 10, token: 'mine' },
  { type: 'extend-leases', fileIds: [otherId], leaseMs: 10 },
  { type: 'set-quota', path: '/d', names: 10, bytes: null },
  { type: 'set-replication', path: '/d', replication: 2, recursive: true },
  {
    type: 'set-attributes',
    path: '/d',
    mode: 0o755,
    owner: 'mia',
    group: '',
    modifiedMs: 5,
    recursive: true,
  },
  { type: 'create-snapshot', path: '/d', name: 'one' },
  { type: 'rename-snapshot', path: '/d', name: 'one', to: 'two' },
  { type: 'delete-snapshot', path: '/d', name: 'two' },
  { type: 'rm', path: '/d', recursive: true, trash: true },
  { type: 'undelete', path: '/d', deletedMs: 1, to: '/e' },
  { type: 'expunge', ageMs: 0 },
  { type: 'expire-leases' },
  ...(['slots-assign', 'slot-move-begin'] as const).map((type, epoch): DhtCommand => {
    return { type, batch: slotBatch([{ slot: 1, epoch, owners: [asPeerId(`peer${epoch}`)] }]) }
  }),
  ...(['slot-move-promote', 'slot-move-retire'] as const).map((type, at): DhtCommand => {
    return { type, batch: slotBatch([{ slot: 1, epoch: at + 2, owners: [] }]) }
  }),
]

describe('command schema', () => {
  it('passes every command as it is, and the sub-machines carry it out', () => {
    const [namespace, slots] = [new Namespace(), new SlotTable()]
    for (const [index, command] of commands.entries()) {
      const received = dhtCommandSchema.parse(unpack(pack(command)))
      expect(received).toEqual(command)
      const context = { index, term: 1, timeMs: 0 }
      const result = isSlotCommand(received)
        ? slots.apply(received, context)
        : namespace.apply(received, context)
      expect(result).toMatchObject({ ok: true })
    }
  })

  it('lets nothing pass that makes a sub-machine throw', () => {
    const junk = fc.oneof(
      fc.anything(),
      fc.constantFrom('/a', '/', fileId, blockId, [], {}, -1, 0, 1, Number.NaN, 1e300),
    )
    const cases = fc.tuple(fc.constantFrom(...commands), fc.nat(9), junk, fc.boolean())
    fc.assert(
      fc.property(cases, ([command, at, value, inside]) => {
        // One field is replaced, of the command itself or of its first block or batch.
        const copy = structuredClone(command) as unknown as Record<string, unknown>
        const nested = Object.values(copy).find(field => typeof field === 'object' && field !== null)
        const list = Array.isArray(nested) ? (nested[0] as object | undefined) : nested
        const target = (inside && typeof list === 'object' ? list : copy) as Record<string, unknown>
        const keys = Object.keys(target).filter(key => key !== 'type')
        if (keys.length === 0) return
        target[keys[at % keys.length]!] = value
        const parsed = dhtCommandSchema.safeParse(copy)
        if (!parsed.success) return
        const [namespace, slots] = [new Namespace(), new SlotTable()]
        const context = { index: 1, term: 1, timeMs: 0 }
        const apply = (): unknown =>
          isSlotCommand(parsed.data)
            ? slots.apply(parsed.data, context)
            : namespace.apply(parsed.data, context)
        expect(apply).not.toThrow()
        namespace.assertInvariants()
        slots.assertInvariants()
      }),
      { numRuns: 500 },
    )
  })
})
