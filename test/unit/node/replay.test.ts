import { describe, expect, test } from 'vitest'
import { asFileId, asPeerId, pack, unpack } from '../../../src/base/index.ts'
import { blockIdOf, type NamespaceCommand } from '../../../src/dht/index.ts'
import { replay, type ReplayedCommand } from '../../../src/node/replay.ts'
import { ReplicatedState, type LogCommand } from '../../../src/node/replicated-state.machine.ts'
import { packParts, unpackParts } from '../../../src/node/state-bytes.ts'

const [ANN, BEN] = ['ann', 'ben'].map(asPeerId) as [ReturnType<typeof asPeerId>, ReturnType<typeof asPeerId>]

function fileCommands(file: number): NamespaceCommand[] {
  const hex = file.toString(16).padStart(32, '0')
  const fileId = asFileId(hex)
  const block = {
    index: 0,
    blockId: blockIdOf(fileId, 0, 'w'),
    sizeBytes: 10,
    sha256: hex + hex,
    holders: [ANN, BEN],
  }
  const session = { clientId: `client ${file % 50}`, seq: file }
  return [
    { type: 'begin-file', path: `/d${file % 3}/f${file}`, fileId, leaseMs: 60_000, parents: true, session },
    { type: 'add-blocks', fileId, blocks: [block] },
    // Some stay open.
    ...(file % 7 === 0 ? [] : [{ type: 'commit-file' as const, fileId, blockCount: 1 }]),
  ]
}

/** A log of files, snapshots and changes after them, with a member in it. */
function log(files: number): ReplayedCommand[] {
  const commands: LogCommand[] = [
    {
      part: 'gossip',
      command: {
        type: 'peer-join',
        peerId: ANN,
        name: 'ann',
        addresses: [],
        labels: { host: 'h', zone: '' },
        directoryId: 'd',
      },
    },
  ]
  for (let file = 0; file < files; file++) {
    for (const command of fileCommands(file)) commands.push({ part: 'dht', command })
    if (file === 40)
      commands.push({ part: 'dht', command: { type: 'create-snapshot', path: '/d1', name: 's' } })
    if (file > 60 && file % 10 === 0)
      commands.push({
        part: 'dht',
        command: { type: 'mv', from: `/d1/f${file - 60 + ((file + 1) % 3)}`, to: `/m${file}` },
      })
  }
  return commands.map((command, at) => ({ index: at + 1, term: 1, timeMs: 1_000 + at, data: pack(command) }))
}

function applied(commands: readonly ReplayedCommand[]): ReplicatedState {
  const state = new ReplicatedState()
  for (const { data, index, term, timeMs } of commands)
    state.apply(unpack(data) as LogCommand, { index, term, timeMs })
  return state
}

describe('a snapshot made in another thread', () => {
  const never = new AbortController().signal

  test('is byte for byte the one that this thread would have made, with and without one before it', async () => {
    const commands = log(1_500)
    const whole = packParts(applied(commands).snapshot())
    const half = Math.floor(commands.length / 2)
    const base = packParts(applied(commands.slice(0, half)).snapshot())
    expect(Buffer.from(await replay(undefined, commands, never)).equals(whole)).toBe(true)
    expect(Buffer.from(await replay(base, commands.slice(half), never)).equals(whole)).toBe(true)
    // Moved, not copied.
    expect(base.byteLength).toBe(0)
  })

  test('is given up when it is no longer wanted, and its failure is told', async () => {
    const ended = AbortSignal.timeout(1)
    await expect(replay(undefined, log(2_000), ended)).rejects.toThrow()
    const garbage = new Uint8Array(64).fill(0xc1)
    await expect(replay(garbage, [], never)).rejects.toThrow()
  })
})

describe('a state that is restored in steps', () => {
  test('is the old one to whoever looks between them, and then the new one as a whole', () => {
    const source = applied(log(1_500))
    const state = applied(log(3))
    const old = packParts(state.snapshot())
    let steps = 0
    const bytes = packParts(source.snapshot())
    for (const _ of state.restoring(unpackParts(bytes))) {
      steps++
      expect(Buffer.from(packParts(state.snapshot())).equals(old)).toBe(true)
    }
    // No step has more than 512 files.
    expect(steps).toBeGreaterThan(3)
    expect(Buffer.from(packParts(state.snapshot())).equals(bytes)).toBe(true)
    state.assertInvariants()
  })

  test('stays as it was when the snapshot breaks off', () => {
    const state = applied(log(3))
    const old = packParts(state.snapshot())
    const bytes = packParts(applied(log(600)).snapshot())
    expect(() => state.restore(unpackParts(bytes.slice(0, bytes.byteLength - 100)))).toThrow()
    expect(Buffer.from(packParts(state.snapshot())).equals(old)).toBe(true)
  })
})
