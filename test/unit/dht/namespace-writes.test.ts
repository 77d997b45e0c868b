import { describe, expect, it } from 'vitest'
import { asFileId, asPeerId, pack, unpack, type FileId } from '../../../src/base/index.ts'
import { blockIdOf, Namespace, type NamespaceCommand, type NamespaceResult } from '../../../src/dht/index.ts'

const SHA = 'ab'.repeat(32)
const HOLDERS = ['ada', 'bob', 'eve'].map(asPeerId)
const fileIdOf = (number: number): FileId => asFileId(number.toString(16).padStart(32, '0'))

class Log {
  namespace = new Namespace({ slotCount: 16 })
  index = 0
  timeMs = 1_000.25

  apply(command: NamespaceCommand): NamespaceResult {
    const result = this.namespace.apply(command, { index: ++this.index, term: 1, timeMs: this.timeMs })
    this.namespace.assertInvariants()
    return result
  }

  code(command: NamespaceCommand): string {
    const result = this.apply(command)
    return result.ok ? 'ok' : result.error.code
  }

  add(fileId: FileId, index: number, lease?: number, writeId = 'a', sizeBytes = 10): string {
    const block = {
      index,
      blockId: blockIdOf(fileId, index, writeId),
      sizeBytes,
      sha256: SHA,
      holders: HOLDERS,
    }
    return this.code({ type: 'add-blocks', fileId, blocks: [block], ...(lease !== undefined && { lease }) })
  }

  put(path: string, fileId: FileId, blocks = 1): void {
    expect(this.code({ type: 'begin-file', path, fileId, leaseMs: 1_000, parents: true })).toBe('ok')
    for (let index = 0; index < blocks; index++) expect(this.add(fileId, index)).toBe('ok')
    expect(this.code({ type: 'commit-file', fileId, blockCount: blocks })).toBe('ok')
  }

  lease(command: NamespaceCommand): number {
    const result = this.apply(command)
    if (!result.ok || !('lease' in result)) throw new Error(`no lease: ${JSON.stringify(result)}`)
    return result.lease
  }
}

describe('appends', () => {
  it('let the first one write; the second is a conflict until the lease ends, and the first is then fenced off', () => {
    const log = new Log()
    const id = fileIdOf(1)
    log.put('/f', id, 2)
    const first = log.lease({ type: 'begin-append', path: '/f', leaseMs: 1_000 })
    expect(log.code({ type: 'begin-append', path: '/f', leaseMs: 1_000 })).toBe('WRITE_CONFLICT')
    expect(log.add(id, 2, first)).toBe('ok')
    log.timeMs += 1_001
    const second = log.lease({ type: 'begin-append', path: '/f', leaseMs: 1_000 })
    expect(log.add(id, 2, first, 'b')).toBe('LEASE_LOST')
    expect(log.code({ type: 'commit-file', fileId: id, blockCount: 3, from: 2, lease: first })).toBe(
      'LEASE_LOST',
    )
    expect(log.code({ type: 'abandon-file', fileId: id, lease: first })).toBe('ok')
    expect(log.namespace.openWrite(id)).toMatchObject({ append: true, lease: second, blocks: [] })
    expect(log.add(id, 2, second, 'c', 7)).toBe('ok')
    expect(log.code({ type: 'commit-file', fileId: id, blockCount: 3, from: 2, lease: second })).toBe('ok')
    expect(log.namespace.stat('/f')).toMatchObject({ sizeBytes: 27, partitions: 3, fileId: id })
  })

  it('rewrite the last partition, never another, and never shorter', () => {
    const log = new Log()
    const id = fileIdOf(1)
    log.put('/f', id, 2)
    const old = log.namespace.blocksOf('/f')[1]!.blockId
    const lease = log.lease({ type: 'begin-append', path: '/f', leaseMs: 1_000 })
    expect(log.add(id, 0, lease, 'b')).toBe('BAD_MESSAGE')
    expect(log.add(id, 1, lease, 'b', 9)).toBe('ok')
    const commit = { type: 'commit-file' as const, fileId: id, blockCount: 2, from: 1, lease }
    expect(log.code(commit)).toBe('BAD_MESSAGE')
    expect(log.add(id, 1, lease, 'c', 15)).toBe('ok')
    expect(log.namespace.stat('/f').sizeBytes).toBe(20)
    expect(log.code(commit)).toBe('ok')
    expect(log.namespace.stat('/f')).toMatchObject({ sizeBytes: 25, partitions: 2 })
    expect(log.namespace.isReferenced(old)).toBe(false)
  })

  it('follow a renamed file, and are NOT_FOUND for one that was replaced, removed or thrown into the trash', () => {
    const end = (change: NamespaceCommand[]): string => {
      const log = new Log()
      const id = fileIdOf(1)
      log.put('/f', id, 1)
      const lease = log.lease({ type: 'begin-append', path: '/f', leaseMs: 1_000 })
      log.add(id, 1, lease)
      for (const each of change) expect(log.code(each)).toBe('ok')
      return log.code({ type: 'commit-file', fileId: id, blockCount: 2, from: 1, lease })
    }
    const other = fileIdOf(2)
    expect(end([{ type: 'mv', from: '/f', to: '/g' }])).toBe('ok')
    expect(end([{ type: 'rm', path: '/f' }])).toBe('NOT_FOUND')
    expect(end([{ type: 'rm', path: '/f', trash: true }])).toBe('NOT_FOUND')
    expect(
      end([
        { type: 'begin-file', path: '/f', fileId: other, leaseMs: 1_000, overwrite: true },
        { type: 'commit-file', fileId: other, blockCount: 0 },
      ]),
    ).toBe('NOT_FOUND')
  })

  it('need their lease for everything', () => {
    const log = new Log()
    const id = fileIdOf(1)
    log.put('/f', id, 1)
    log.lease({ type: 'begin-append', path: '/f', leaseMs: 1_000 })
    expect(log.add(id, 1)).toBe('LEASE_LOST')
    expect(log.code({ type: 'extend-lease', fileId: id, leaseMs: 1_000 })).toBe('LEASE_LOST')
    expect(log.code({ type: 'commit-file', fileId: id, blockCount: 1, from: 1 })).toBe('LEASE_LOST')
  })
})

describe('writes with a token', () => {
  it('are taken over with their blocks by whoever comes back with it, within a day', () => {
    const log = new Log()
    const id = fileIdOf(1)
    const begin = { type: 'begin-file' as const, path: '/big', leaseMs: 1e12, token: 'up-1' }
    const first = log.lease({ ...begin, fileId: id })
    expect(log.namespace.openWrite(id)?.expiresAtMs).toBe(log.timeMs + 86_400_000)
    expect(log.add(id, 0, first)).toBe('ok')
    log.timeMs += 80_000_000
    const restored = new Namespace({ slotCount: 16 })
    restored.restore(unpack(pack(log.namespace.snapshot())))
    log.namespace = restored
    expect(log.namespace.openWritesAt('/', 'up-1')).toMatchObject([{ path: '/big', token: 'up-1' }])
    const result = log.apply({ ...begin, fileId: fileIdOf(2) })
    expect(result).toMatchObject({ ok: true, fileId: id, blocks: 1, expiresAtMs: log.timeMs + 86_400_000 })
    expect(log.add(id, 1, first)).toBe('LEASE_LOST')
    expect(log.add(id, 1, log.index - 1)).toBe('ok')
    const lease = log.index - 2
    expect(log.code({ type: 'commit-file', fileId: id, blockCount: 2, lease })).toBe('ok')
    expect(log.namespace.stat('/big')).toMatchObject({ sizeBytes: 20, fileId: id })
  })

  it('of another path or token are other writes', () => {
    const log = new Log()
    log.lease({ type: 'begin-file', path: '/a', fileId: fileIdOf(1), leaseMs: 10, token: 'x' })
    for (const [path, token, number] of [
      ['/a', 'y', 2],
      ['/b', 'x', 3],
    ] as const) {
      const begin = { type: 'begin-file' as const, path, fileId: fileIdOf(number), leaseMs: 10, token }
      expect(log.apply(begin)).toMatchObject({ fileId: fileIdOf(number), blocks: 0 })
    }
    expect(log.namespace.openWritesAt('/a').map(write => write.fileId)).toEqual([fileIdOf(1), fileIdOf(2)])
  })
})

describe('finished parts', () => {
  it('are kept together for as long as their requester says, but neither dead ones, nor appends, nor those with a token', () => {
    const log = new Log()
    const [part, dead, upload, file] = [1, 2, 3, 4].map(fileIdOf) as [FileId, FileId, FileId, FileId]
    log.put('/f', file)
    log.lease({ type: 'begin-file', path: '/out/a', fileId: dead, leaseMs: 10, parents: true })
    log.timeMs += 20
    log.lease({ type: 'begin-file', path: '/out/b', fileId: part, leaseMs: 10, parents: true })
    log.lease({ type: 'begin-file', path: '/up', fileId: upload, leaseMs: 10, token: 'x' })
    log.lease({ type: 'begin-append', path: '/f', leaseMs: 10 })
    const fileIds = [part, dead, upload, file, fileIdOf(99)]
    expect(log.apply({ type: 'extend-leases', fileIds, leaseMs: 500 })).toEqual({ ok: true, extended: 1 })
    log.timeMs += 400
    expect(log.apply({ type: 'expire-leases' })).toMatchObject({ expired: 3 })
    const commit = { type: 'commit-output' as const, path: '/out', winner: 'w' }
    expect(log.code({ ...commit, parts: [{ fileId: part, blockCount: 0 }] })).toBe('ok')
  })
})

describe('an output whose parts are files already', () => {
  const part = (number: number) => `/.jobs/s-1/out/part-0000${number}`
  const commit = {
    type: 'commit-output' as const,
    path: '/a/out',
    winner: 's/1',
    parts: [],
    gathered: { directory: '/.jobs/s-1/out', files: 2 },
    marker: fileIdOf(9),
  }

  it('appears whole and once when all of them are there, and not before', () => {
    const log = new Log()
    log.put(part(0), fileIdOf(1))
    const before = log.namespace.snapshot()
    expect(log.code(commit)).toBe('BAD_MESSAGE')
    expect(pack([...log.namespace.snapshot()].slice(1))).toEqual(pack([...before].slice(1)))
    log.put(part(1), fileIdOf(2))
    expect(log.apply(commit)).toEqual({ ok: true, files: 2, sizeBytes: 20 })
    expect(log.namespace.list('/a/out').map(({ name }) => name)).toEqual([
      '_SUCCESS',
      'part-00000',
      'part-00001',
    ])
    expect(log.namespace.exists('/.jobs/s-1/out')).toBe(false)
    // Said twice, as by a leader that took over in between: the first one did it.
    expect(log.apply({ ...commit, marker: fileIdOf(10) })).toEqual({ ok: true, files: 2, sizeBytes: 20 })
    log.put(part(0), fileIdOf(3))
    log.put(part(1), fileIdOf(4))
    expect(log.code({ ...commit, winner: 's/2' })).toBe('ALREADY_COMMITTED')
    const other = { ...commit, winner: 's/2', overwrite: true, marker: fileIdOf(11) }
    expect(log.apply(other)).toMatchObject({ ok: true, files: 2 })
    expect(log.namespace.trash().map(({ path }) => path)).toEqual(['/a/out'])
  })

  it('is refused for other things in the directory, for places inside each other and for a quota that it exceeds', () => {
    const log = new Log()
    log.put(part(0), fileIdOf(1))
    log.put(part(1), fileIdOf(2))
    expect(log.code({ ...commit, path: '/.jobs/s-1/out/deeper' })).toBe('BAD_MESSAGE')
    expect(log.code({ ...commit, path: '/.jobs/s-1', overwrite: true })).toBe('BAD_MESSAGE')
    expect(log.code({ ...commit, parts: [{ fileId: fileIdOf(1), blockCount: 1 }] })).toBe('BAD_MESSAGE')
    expect(log.code({ ...commit, gathered: { directory: '/none', files: 0 } })).toBe('NOT_FOUND')
    log.code({ type: 'mkdir', path: '/a' })
    log.code({ type: 'set-quota', path: '/a', names: 3 })
    expect(log.code(commit)).toBe('QUOTA_EXCEEDED')
    expect(log.namespace.exists('/a/out')).toBe(false)
    log.code({ type: 'set-quota', path: '/a', names: null })
    expect(log.code({ type: 'mkdir', path: '/.jobs/s-1/out/more' })).toBe('ok')
    expect(log.code({ ...commit, gathered: { directory: '/.jobs/s-1/out', files: 3 } })).toBe('BAD_MESSAGE')
  })
})

describe('limits', () => {
  it('says which quota of which directory is full, while writing already, and lets removals through', () => {
    const log = new Log()
    log.put('/q/in/f', fileIdOf(1))
    expect(log.code({ type: 'set-quota', path: '/q', bytes: 60, names: 4 })).toBe('ok')
    const id = fileIdOf(2)
    expect(log.code({ type: 'begin-file', path: '/q/in/g', fileId: id, leaseMs: 1_000 })).toBe('ok')
    expect(log.add(id, 0)).toBe('ok')
    const block = { index: 1, blockId: blockIdOf(id, 1, 'a'), sizeBytes: 1, sha256: SHA, holders: HOLDERS }
    expect(log.apply({ type: 'add-blocks', fileId: id, blocks: [block] })).toMatchObject({
      error: { code: 'QUOTA_EXCEEDED', details: { path: '/q', what: 'bytes', limit: 60, used: 30 } },
    })
    expect(log.code({ type: 'commit-file', fileId: id, blockCount: 1 })).toBe('ok')
    expect(log.apply({ type: 'mkdir', path: '/q/more' })).toMatchObject({
      error: { code: 'QUOTA_EXCEEDED', details: { path: '/q', what: 'names', limit: 4, used: 4 } },
    })
    expect(log.code({ type: 'set-replication', path: '/q/in/f', replication: 4 })).toBe('QUOTA_EXCEEDED')
    expect(log.code({ type: 'set-replication', path: '/q/in/f', replication: 1 })).toBe('ok')
    expect(log.code({ type: 'set-quota', path: '/q', names: 1 })).toBe('ok')
    expect(log.code({ type: 'rm', path: '/q/in/g', trash: true })).toBe('ok')
    expect(log.code({ type: 'undelete', path: '/q/in/g' })).toBe('QUOTA_EXCEEDED')
    expect(log.code({ type: 'set-quota', path: '/q', names: null })).toBe('ok')
    expect(log.code({ type: 'undelete', path: '/q/in/g' })).toBe('ok')
    expect(log.namespace.quota('/q')).toEqual({
      path: '/q',
      names: { used: 4 },
      bytes: { limit: 60, used: 40 },
    })
  })

  it('refuses a move after which a path below would be too long, and only then', () => {
    const log = new Log()
    const long = 'n'.repeat(250)
    const deep = `/a${`/${long}`.repeat(15)}`
    expect(log.code({ type: 'mkdir', path: deep, parents: true })).toBe('ok')
    expect(log.code({ type: 'mkdir', path: `/${long}/${long}`, parents: true })).toBe('ok')
    expect(log.code({ type: 'mv', from: '/a', to: `/${long}/${long}` })).toBe('INVALID_PATH')
    expect(log.code({ type: 'mv', from: '/a', to: `/${long}` })).toBe('ok')
    expect(log.code({ type: 'mv', from: `/${long}/a`, to: '/a' })).toBe('ok')
    // The bound that is kept is too high after a removal; the paths themselves count.
    expect(log.code({ type: 'rm', path: `/a/${long}`, recursive: true })).toBe('ok')
    expect(log.code({ type: 'mv', from: '/a', to: `/${long}/${long}` })).toBe('ok')
  })

  it('keeps snapshots and trash out of reach of changes', () => {
    const log = new Log()
    log.put('/d/f', fileIdOf(1))
    expect(log.code({ type: 'create-snapshot', path: '/d', name: 's' })).toBe('ok')
    const inside = '/d/.snapshot/s/f'
    for (const command of [
      { type: 'rm', path: inside },
      { type: 'mv', from: inside, to: '/x' },
      { type: 'mkdir', path: '/d/.snapshot' },
      { type: 'touch', path: inside, fileId: fileIdOf(9) },
      { type: 'begin-append', path: inside, leaseMs: 1 },
      { type: 'begin-file', path: '/d/.snapshot/s/g', fileId: fileIdOf(9), leaseMs: 1 },
    ] satisfies NamespaceCommand[]) {
      expect(log.code(command)).toBe('READ_ONLY')
    }
    expect(log.code({ type: 'rm', path: '/d', recursive: true })).toBe('HAS_SNAPSHOTS')
    expect(log.code({ type: 'mkdir', path: '/.trash/1', parents: true })).toBe('INVALID_PATH')
    const block = log.namespace.blocksOf('/d/f')[0]!.blockId
    expect(log.code({ type: 'rm', path: '/d/f' })).toBe('ok')
    expect(log.namespace.isReferenced(block)).toBe(true)
    expect(log.namespace.blockOf(block)?.holders).toEqual(HOLDERS)
    expect(log.namespace.replicaCounts(new Set([asPeerId('zed')]))).toEqual({
      underReplicated: 1,
      missing: 1,
      short: 0,
    })
    expect(log.code({ type: 'delete-snapshot', path: '/d', name: 's' })).toBe('ok')
    expect(log.namespace.isReferenced(block)).toBe(false)
    expect(log.namespace.replicaCounts(new Set([asPeerId('zed')]))).toEqual({
      underReplicated: 0,
      missing: 0,
      short: 0,
    })
  })

  it('empties the trash by log time, a bounded number at a time', () => {
    const log = new Log()
    log.namespace = new Namespace({ slotCount: 16, expungeMax: 2 })
    for (let file = 1; file <= 4; file++) {
      log.put(`/f${file}`, fileIdOf(file))
      expect(log.code({ type: 'rm', path: `/f${file}`, trash: true })).toBe('ok')
    }
    expect(log.namespace.trash().map(({ path }) => path)).toEqual(['/f1', '/f2', '/f3', '/f4'])
    expect(log.apply({ type: 'expunge', ageMs: 100 })).toMatchObject({ entries: 0, more: false })
    log.timeMs += 102
    expect(log.apply({ type: 'expunge', ageMs: 100 })).toMatchObject({ entries: 1, more: true })
    expect(log.apply({ type: 'expunge', ageMs: 0 })).toMatchObject({ entries: 1, more: true })
    log.apply({ type: 'expunge', ageMs: 0 })
    expect(log.apply({ type: 'expunge', ageMs: 0 })).toMatchObject({ entries: 1, more: false })
    expect(log.namespace.slotsWithData()).toEqual([])
  })
})
