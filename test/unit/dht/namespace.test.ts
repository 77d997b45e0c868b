import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  asFileId,
  asPeerId,
  fromWire,
  pack,
  unpack,
  type FileId,
  type PeerId,
} from '../../../src/base/index.ts'
import {
  blockIdOf,
  Namespace,
  type BlockReport,
  type NamespaceCommand,
  type NamespaceLimits,
  type NamespaceResult,
} from '../../../src/dht/index.ts'

const SHA = 'cd'.repeat(32)
const [ada, bob, eve] = ['ada', 'bob', 'eve'].map(asPeerId) as [PeerId, PeerId, PeerId]
const fileIdOf = (number: number): FileId => asFileId(number.toString(16).padStart(32, '0'))

function blockOf(fileId: FileId, index: number, extra: Partial<BlockReport> = {}): BlockReport {
  const blockId = blockIdOf(fileId, index, 'a')
  return { index, blockId, sizeBytes: 10, sha256: SHA, holders: [ada, bob, eve], ...extra }
}

/** A namespace with a log: each command gets the next index and a time. */
class Log {
  namespace: Namespace
  index = 0
  timeMs = 1_000

  constructor(limits: Partial<NamespaceLimits> = {}) {
    this.namespace = new Namespace({ slotCount: 16, ...limits })
  }

  apply(command: NamespaceCommand): NamespaceResult {
    const result = this.namespace.apply(command, { index: ++this.index, term: 1, timeMs: this.timeMs })
    this.namespace.assertInvariants()
    return result
  }

  /** 'ok' or the code of the refusal. */
  code(command: NamespaceCommand): string {
    const result = this.apply(command)
    return result.ok ? 'ok' : result.error.code
  }

  begin(path: string, fileId: FileId, extra: { overwrite?: boolean; parents?: boolean } = {}): string {
    return this.code({ type: 'begin-file', path, fileId, leaseMs: 10_000, ...extra })
  }

  add(fileId: FileId, ...blocks: BlockReport[]): string {
    return this.code({ type: 'add-blocks', fileId, blocks })
  }

  commit(fileId: FileId, blockCount: number): string {
    return this.code({ type: 'commit-file', fileId, blockCount })
  }

  /** A whole put of blocks of 10 bytes; the first refusal, or 'ok'. */
  put(
    path: string,
    fileId: FileId,
    blocks = 1,
    extra: { overwrite?: boolean; parents?: boolean } = {},
  ): string {
    const begun = this.begin(path, fileId, extra)
    if (begun !== 'ok') return begun
    for (let index = 0; index < blocks; index++) this.add(fileId, blockOf(fileId, index))
    return this.commit(fileId, blocks)
  }

  paths(): string[] {
    const found: string[] = []
    const open = ['/']
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      for (const entry of this.namespace.list(path)) {
        found.push(entry.path + (entry.type === 'directory' ? '/' : ''))
        if (entry.type === 'directory') open.push(entry.path)
      }
    }
    return found.sort()
  }
}

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    return (error as { code: string }).code
  }
  return 'ok'
}

describe('namespace: files', () => {
  it('shows a file whole and only at its commit', () => {
    const log = new Log()
    const id = fileIdOf(1)
    expect(log.begin('/f', id)).toBe('ok')
    expect(log.add(id, blockOf(id, 1), blockOf(id, 0, { sizeBytes: 7 }))).toBe('ok')
    expect(log.paths()).toEqual([])
    expect(codeOf(() => log.namespace.stat('/f'))).toBe('NOT_FOUND')
    expect(log.namespace.usage()).toMatchObject({ files: 0, blocks: 0 })
    expect(log.commit(id, 2)).toBe('ok')
    expect(log.namespace.stat('/f')).toMatchObject({ type: 'file', sizeBytes: 17, partitions: 2, fileId: id })
    expect(log.namespace.blocksOf('/f').map(block => [block.index, block.offset, block.sizeBytes])).toEqual([
      [0, 0, 7],
      [1, 7, 10],
    ])
    expect(log.namespace.usage()).toMatchObject({ files: 1, blocks: 2, sizeBytes: 17, storedBytes: 51 })
  })

  it('keeps an empty file', () => {
    const log = new Log()
    expect(log.put('/empty', fileIdOf(1), 0)).toBe('ok')
    expect(log.namespace.stat('/empty')).toMatchObject({ sizeBytes: 0, partitions: 0 })
    expect(log.namespace.blocksOf('/empty')).toEqual([])
  })

  it('commits only what is complete, and repeating a commit changes nothing', () => {
    const log = new Log()
    const id = fileIdOf(1)
    log.begin('/f', id)
    log.add(id, blockOf(id, 0), blockOf(id, 2))
    expect(log.commit(id, 2)).toBe('BAD_MESSAGE')
    expect(log.commit(id, 3)).toBe('BAD_MESSAGE')
    log.add(id, blockOf(id, 1))
    expect(log.apply({ type: 'commit-file', fileId: id, blockCount: 3 })).toEqual({
      ok: true,
      sizeBytes: 30,
      partitions: 3,
    })
    expect(log.apply({ type: 'commit-file', fileId: id, blockCount: 3 })).toEqual({
      ok: true,
      sizeBytes: 30,
      partitions: 3,
    })
  })

  it('refuses an existing path before anything is written, and lets the first of two writers win', () => {
    const log = new Log()
    expect(log.begin('/f', fileIdOf(1))).toBe('ok')
    expect(log.begin('/f', fileIdOf(2))).toBe('ok')
    expect(log.commit(fileIdOf(2), 0)).toBe('ok')
    expect(log.commit(fileIdOf(1), 0)).toBe('ALREADY_EXISTS')
    expect(log.begin('/f', fileIdOf(3))).toBe('ALREADY_EXISTS')
    expect(log.namespace.stat('/f').fileId).toBe(fileIdOf(2))
  })

  it('replaces at the commit when told to overwrite, and says what it replaced', () => {
    const log = new Log()
    log.put('/f', fileIdOf(1), 2)
    const old = log.namespace.blocksOf('/f').map(block => block.blockId)
    expect(log.begin('/f', fileIdOf(2), { overwrite: true })).toBe('ok')
    expect(log.namespace.stat('/f').fileId).toBe(fileIdOf(1))
    expect(log.apply({ type: 'commit-file', fileId: fileIdOf(2), blockCount: 0 })).toMatchObject({
      replaced: fileIdOf(1),
    })
    expect(log.namespace.stat('/f')).toMatchObject({ fileId: fileIdOf(2), sizeBytes: 0 })
    expect(old.some(block => log.namespace.isReferenced(block))).toBe(false)
    expect(log.begin('/', fileIdOf(3), { overwrite: true })).toBe('IS_A_DIRECTORY')
  })

  it('makes missing directories when asked, at the commit', () => {
    const log = new Log()
    expect(log.begin('/a/b/f', fileIdOf(1))).toBe('NOT_FOUND')
    expect(log.begin('/a/b/f', fileIdOf(1), { parents: true })).toBe('ok')
    expect(log.paths()).toEqual([])
    expect(log.commit(fileIdOf(1), 0)).toBe('ok')
    expect(log.paths()).toEqual(['/a/', '/a/b/', '/a/b/f'])
    expect(log.begin('/a/b/f/g', fileIdOf(2), { parents: true })).toBe('NOT_A_DIRECTORY')
  })

  it('loses the lease by log time alone, and extending keeps it', () => {
    const log = new Log()
    const [kept, lost] = [fileIdOf(1), fileIdOf(2)]
    log.begin('/kept', kept)
    log.begin('/lost', lost)
    log.timeMs += 9_000
    expect(log.code({ type: 'extend-lease', fileId: kept, leaseMs: 10_000 })).toBe('ok')
    log.timeMs += 1_000
    expect(log.add(lost, blockOf(lost, 0))).toBe('LEASE_LOST')
    expect(log.commit(lost, 0)).toBe('LEASE_LOST')
    expect(log.code({ type: 'extend-lease', fileId: lost, leaseMs: 1 })).toBe('LEASE_LOST')
    expect(log.add(kept, blockOf(kept, 0))).toBe('ok')
    expect(log.apply({ type: 'expire-leases' })).toEqual({ ok: true, expired: 1 })
    expect(log.namespace.leaseOf(lost)).toBeUndefined()
    expect(log.commit(kept, 1)).toBe('ok')
  })

  it('protects the blocks of an open write, reported or not, until it ends', () => {
    const log = new Log()
    const id = fileIdOf(1)
    log.begin('/f', id)
    log.add(id, blockOf(id, 0))
    const [added, notYet] = [blockIdOf(id, 0, 'a'), blockIdOf(id, 1, 'a')]
    expect([added, notYet].map(block => log.namespace.isReferenced(block))).toEqual([true, true])
    expect(log.namespace.slotsWithData()).toHaveLength(1)
    expect(log.apply({ type: 'abandon-file', fileId: id })).toEqual({ ok: true, abandoned: true })
    expect(log.apply({ type: 'abandon-file', fileId: id })).toEqual({ ok: true, abandoned: false })
    expect([added, notYet].map(block => log.namespace.isReferenced(block))).toEqual([false, false])
    expect(log.namespace.slotsWithData()).toEqual([])
  })

  it('takes the last report of a rewritten block and forgets the attempt before', () => {
    const log = new Log()
    const id = fileIdOf(1)
    log.begin('/f', id)
    log.add(id, blockOf(id, 0))
    log.add(id, blockOf(id, 0, { blockId: blockIdOf(id, 0, 'b'), holders: [eve] }))
    log.commit(id, 1)
    expect(log.namespace.blocksOf('/f')).toMatchObject([{ blockId: blockIdOf(id, 0, 'b'), holders: [eve] }])
    expect(log.namespace.isReferenced(blockIdOf(id, 0, 'a'))).toBe(false)
  })

  it.each<[string, Partial<BlockReport>]>([
    ['of another file', { blockId: blockIdOf(fileIdOf(9), 0, 'a') }],
    ['with another index', { blockId: blockIdOf(fileIdOf(1), 3, 'a') }],
    ['without a holder', { holders: [] }],
    ['with a holder named twice', { holders: [ada, ada] }],
    ['of no bytes', { sizeBytes: 0 }],
    ['with half a checksum', { sha256: 'ab' }],
  ])('refuses a block %s, and all that came with it', (_, fault) => {
    const log = new Log()
    const id = fileIdOf(1)
    log.begin('/f', id)
    expect(log.add(id, blockOf(id, 1), blockOf(id, 0, fault))).toBe('BAD_MESSAGE')
    expect(log.namespace.leaseOf(id)?.blocks).toBe(0)
  })

  it('bounds open writes, blocks an entry, files and leases', () => {
    const log = new Log({ leasesMax: 1, blocksPerCommandMax: 1, entriesMax: 2, leaseMsMax: 5 })
    const id = fileIdOf(1)
    expect(log.apply({ type: 'begin-file', path: '/f', fileId: id, leaseMs: 1e9 })).toEqual({
      ok: true,
      expiresAtMs: 1_005,
      fileId: id,
      lease: 1,
      blocks: 0,
    })
    expect(log.begin('/g', fileIdOf(2))).toBe('BUSY')
    expect(log.add(id, blockOf(id, 0), blockOf(id, 1))).toBe('BAD_MESSAGE')
    expect(log.commit(id, 0)).toBe('ok')
    expect(log.code({ type: 'mkdir', path: '/a/b', parents: true })).toBe('BUSY')
    expect(log.code({ type: 'mkdir', path: '/a' })).toBe('ok')
    expect(log.begin('/h', fileIdOf(3))).toBe('BUSY')
  })
})

describe('namespace: directories', () => {
  it('lists entries in the order of their names, in pages, and a file as itself', () => {
    const log = new Log()
    for (const [number, name] of ['b', 'a', 'B', 'é'].entries())
      log.put(`/d/${name}`, fileIdOf(number), 0, { parents: true })
    expect(log.namespace.list('/d').map(entry => entry.name)).toEqual(['B', 'a', 'b', 'é'])
    expect(log.namespace.list('/d', { startAfter: 'B', limit: 2 }).map(entry => entry.path)).toEqual([
      '/d/a',
      '/d/b',
    ])
    expect(log.namespace.list('/d/a')).toMatchObject([{ path: '/d/a', type: 'file' }])
    expect(log.namespace.stat('/')).toMatchObject({ type: 'directory', name: '', children: 1 })
    expect(codeOf(() => log.namespace.list('/d/a/x'))).toBe('NOT_A_DIRECTORY')
    expect(codeOf(() => log.namespace.blocksOf('/d'))).toBe('IS_A_DIRECTORY')
  })

  it('moves onto a directory by moving inside it, and never into itself', () => {
    const log = new Log()
    log.code({ type: 'mkdir', path: '/a/b', parents: true })
    log.put('/f', fileIdOf(1))
    expect(log.apply({ type: 'mv', from: '/f', to: '/a' })).toEqual({ ok: true, path: '/a/f' })
    expect(log.code({ type: 'mv', from: '/a', to: '/a/b/c' })).toBe('INVALID_PATH')
    expect(log.code({ type: 'mv', from: '/a', to: '/a' })).toBe('INVALID_PATH')
    expect(log.code({ type: 'mv', from: '/a/f', to: '/a/f/g' })).toBe('NOT_A_DIRECTORY')
    expect(log.apply({ type: 'mv', from: '/a/b', to: '/b' })).toEqual({ ok: true, path: '/b' })
    expect(log.paths()).toEqual(['/a/', '/a/f', '/b/'])
    expect(log.namespace.pathOf(fileIdOf(1))).toBe('/a/f')
  })

  it('removes a directory with entries only recursively, and all blocks with it', () => {
    const log = new Log()
    log.put('/a/b/f', fileIdOf(1), 3, { parents: true })
    log.put('/a/g', fileIdOf(2), 1)
    expect(log.code({ type: 'rm', path: '/a' })).toBe('DIRECTORY_NOT_EMPTY')
    expect(log.apply({ type: 'rm', path: '/a', recursive: true })).toEqual({
      ok: true,
      files: 2,
      directories: 2,
      sizeBytes: 40,
    })
    expect(log.namespace.slotsWithData()).toEqual([])
    expect(log.namespace.usage()).toEqual({
      files: 0,
      directories: 0,
      blocks: 0,
      sizeBytes: 0,
      storedBytes: 0,
    })
    expect(log.code({ type: 'rm', path: '/', recursive: true })).toBe('INVALID_PATH')
  })

  it('measures a subtree', () => {
    const log = new Log()
    log.put('/a/b/f', fileIdOf(1), 3, { parents: true })
    log.put('/g', fileIdOf(2), 1)
    expect(log.namespace.usage('/a')).toEqual({
      files: 1,
      directories: 1,
      blocks: 3,
      sizeBytes: 30,
      storedBytes: 90,
    })
    expect(log.namespace.usage('/g')).toMatchObject({ files: 1, sizeBytes: 10 })
  })
})

describe('namespace: holders', () => {
  it('follows what repair reports, and never forgets the last holder', () => {
    const log = new Log()
    log.put('/f', fileIdOf(1))
    const blockId = blockIdOf(fileIdOf(1), 0, 'a')
    const report = (add: PeerId[], remove: PeerId[]): NamespaceResult =>
      log.apply({ type: 'report-holders', blocks: [{ blockId, add, remove }] })
    const holders = (): readonly PeerId[] => log.namespace.blockOf(blockId)!.holders
    expect(report([asPeerId('joe')], [bob])).toEqual({ ok: true, changed: 1 })
    expect(holders()).toEqual([ada, eve, 'joe'])
    expect(report([], [ada, eve, asPeerId('joe')])).toEqual({ ok: true, changed: 0 })
    expect(holders()).toEqual([ada, eve, 'joe'])
    expect(report([ada], [])).toEqual({ ok: true, changed: 0 })
    expect(log.namespace.usage().storedBytes).toBe(30)
    report([], [eve])
    expect(log.namespace.usage().storedBytes).toBe(20)
    const gone = { blockId: blockIdOf(fileIdOf(8), 0, 'a'), add: [ada] }
    expect(log.apply({ type: 'report-holders', blocks: [gone] })).toEqual({ ok: true, changed: 0 })
  })

  it('names what has too few living copies, the worst first', () => {
    const log = new Log()
    log.begin('/f', fileIdOf(1))
    log.add(
      fileIdOf(1),
      blockOf(fileIdOf(1), 0),
      blockOf(fileIdOf(1), 1, { holders: [ada] }),
      blockOf(fileIdOf(1), 2, { holders: [bob] }),
    )
    log.commit(fileIdOf(1), 3)
    const found = (live: PeerId[]): unknown[] =>
      log.namespace.underReplicated(new Set(live)).map(({ index, live, wanted }) => [index, live, wanted])
    expect(found([ada])).toEqual([[2, 0, 1]])
    expect(found([ada, eve, asPeerId('joe')])).toEqual([
      [2, 0, 3],
      [1, 1, 3],
      [0, 2, 3],
    ])
  })
})

describe('namespace: outputs of jobs', () => {
  const write = (log: Log, number: number, blocks: number): { fileId: FileId; blockCount: number } => {
    const fileId = fileIdOf(number)
    expect(log.begin(`/out/attempt-${number}`, fileId, { parents: true })).toBe('ok')
    for (let index = 0; index < blocks; index++) log.add(fileId, blockOf(fileId, index))
    return { fileId, blockCount: blocks }
  }

  it('shows all parts at once; the first winner stays', () => {
    const log = new Log()
    const parts = [write(log, 1, 2), write(log, 2, 0)]
    const late = [write(log, 3, 1)]
    const commit = (winner: string, parts: { fileId: FileId; blockCount: number }[]): NamespaceResult =>
      log.apply({ type: 'commit-output', path: '/res/out', winner, parts, suffix: '.txt' })
    expect(log.paths()).toEqual([])
    expect(commit('one', parts)).toEqual({ ok: true, files: 2, sizeBytes: 20 })
    expect(log.paths()).toEqual(['/res/', '/res/out/', '/res/out/part-00000.txt', '/res/out/part-00001.txt'])
    expect(commit('one', parts)).toEqual({ ok: true, files: 2, sizeBytes: 20 })
    expect(commit('two', late)).toMatchObject({
      ok: false,
      error: { code: 'ALREADY_COMMITTED', details: { winner: 'one' } },
    })
    expect(log.namespace.blocksOf('/res/out/part-00000.txt')).toHaveLength(2)
  })

  it('replaces what is there in the same entry, to the trash, with a marker; a refused commit leaves it', () => {
    const log = new Log()
    const out = { type: 'commit-output', path: '/out' } as const
    const commit = (winner: string, number: number, extra: object = {}): string =>
      log.code({
        ...out,
        winner,
        parts: [write(log, number, 1)],
        overwrite: true,
        marker: fileIdOf(90 + number),
        ...extra,
      })
    expect(commit('one', 1)).toBe('ok')
    expect(commit('one', 2)).toBe('ok')
    const first = ['/out/', '/out/_SUCCESS', '/out/part-00000']
    expect(log.paths()).toEqual(first)
    expect(log.namespace.blocksOf('/out/part-00000')[0]!.blockId).toBe(blockIdOf(fileIdOf(1), 0, 'a'))
    expect(commit('two', 3, { parts: [{ fileId: fileIdOf(77), blockCount: 1 }] })).toBe('LEASE_LOST')
    expect(commit('two', 4, { marker: fileIdOf(1) })).toBe('BAD_MESSAGE')
    expect(commit('two', 5, { overwrite: false })).toBe('ALREADY_COMMITTED')
    expect(log.namespace.blocksOf('/out/part-00000')[0]!.blockId).toBe(blockIdOf(fileIdOf(1), 0, 'a'))
    expect(commit('two', 6)).toBe('ok')
    expect(log.namespace.blocksOf('/out/part-00000')[0]!.blockId).toBe(blockIdOf(fileIdOf(6), 0, 'a'))
    expect(log.code({ type: 'mv', from: '/out', to: '/kept' })).toBe('ok')
    expect(log.code({ type: 'undelete', path: '/out' })).toBe('ok')
    expect(log.namespace.blocksOf('/out/part-00000')[0]!.blockId).toBe(blockIdOf(fileIdOf(1), 0, 'a'))
    expect(log.namespace.blocksOf('/out/_SUCCESS')).toEqual([])
  })

  it('shows nothing when a part is incomplete, lost its lease, or the path is taken', () => {
    const log = new Log()
    const [good, half] = [write(log, 1, 1), write(log, 2, 1)]
    const code = (path: string, parts: { fileId: FileId; blockCount: number }[]): string =>
      log.code({ type: 'commit-output', path, winner: 'w', parts })
    expect(code('/out', [good, { ...half, blockCount: 2 }])).toBe('BAD_MESSAGE')
    expect(code('/out', [good, { fileId: fileIdOf(7), blockCount: 0 }])).toBe('LEASE_LOST')
    expect(code('/out', [good, good])).toBe('BAD_MESSAGE')
    log.code({ type: 'mkdir', path: '/taken' })
    expect(code('/taken', [good])).toBe('ALREADY_EXISTS')
    expect(log.paths()).toEqual(['/taken/'])
    expect(code('/out', [good, half])).toBe('ok')
  })
})

describe('namespace: sessions', () => {
  const session = (seq: number, clientId = 'c'): { session: { clientId: string; seq: number } } => ({
    session: { clientId, seq },
  })

  it('carries out a mutation once and gives the first answer again', () => {
    const log = new Log()
    const mkdir: NamespaceCommand = { type: 'mkdir', path: '/d', ...session(2) }
    const refused: NamespaceCommand = { type: 'rm', path: '/x', ...session(1) }
    const answers = [log.apply(mkdir), log.apply(refused)]
    log.code({ type: 'mkdir', path: '/x' })
    expect([log.apply(mkdir), log.apply(refused)]).toEqual(answers)
    expect(answers[0]).toEqual({ ok: true, created: true })
    expect(answers[1]).toMatchObject({ ok: false, error: { code: 'NOT_FOUND' } })
    expect(log.code({ type: 'mkdir', path: '/d', ...session(2, 'other') })).toBe('ALREADY_EXISTS')
  })

  it('says UNKNOWN_OUTCOME for an answer it no longer has, and runs what comes late for the first time', () => {
    const log = new Log({ resultsPerSessionMax: 2 })
    for (const seq of [1, 2, 4, 5])
      expect(log.code({ type: 'mkdir', path: `/${seq}`, ...session(seq) })).toBe('ok')
    expect(log.code({ type: 'mkdir', path: '/1', ...session(1) })).toBe('UNKNOWN_OUTCOME')
    expect(log.code({ type: 'mkdir', path: '/3', ...session(3) })).toBe('ok')
  })

  it('does not remember BUSY: the same request may succeed later', () => {
    const log = new Log({ leasesMax: 1 })
    log.begin('/f', fileIdOf(1))
    const begin: NamespaceCommand = {
      type: 'begin-file',
      path: '/g',
      fileId: fileIdOf(2),
      leaseMs: 10,
      ...session(1),
    }
    expect(log.code(begin)).toBe('BUSY')
    log.code({ type: 'abandon-file', fileId: fileIdOf(1) })
    expect(log.code(begin)).toBe('ok')
  })

  it('forgets idle sessions by log time and the longest idle when there are too many', () => {
    const log = new Log({ sessionsMax: 2, sessionIdleMs: 100 })
    const mkdir = (client: string): string =>
      log.code({ type: 'mkdir', path: `/${client}`, ...session(1, client) })
    expect([mkdir('a'), mkdir('b'), mkdir('c')]).toEqual(['ok', 'ok', 'ok'])
    expect([mkdir('b'), mkdir('c')]).toEqual(['ok', 'ok'])
    expect(mkdir('a')).toBe('ALREADY_EXISTS')
    log.timeMs += 101
    mkdir('d')
    expect(mkdir('c')).toBe('ALREADY_EXISTS')
  })
})

describe('namespace: against a naive model', () => {
  /** What a file system is: paths with a kind. Knows nothing of trees. */
  class Model {
    readonly files = new Map<string, FileId>()
    readonly directories = new Set(['/'])

    parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/'
    exists = (path: string): boolean => this.files.has(path) || this.directories.has(path)
    /** The code for a file on the way, if there is one. */
    blocked = (path: string): boolean => {
      for (let at = this.parentOf(path); at !== '/'; at = this.parentOf(at))
        if (this.files.has(at)) return true
      return false
    }
    below = (path: string): string[] =>
      [...this.files.keys(), ...this.directories].filter(
        each => each.startsWith(path === '/' ? '/' : `${path}/`) && each !== '/',
      )

    mkdir(path: string, parents: boolean): string {
      if (this.blocked(path)) return 'NOT_A_DIRECTORY'
      if (this.exists(path)) return parents && this.directories.has(path) ? 'ok' : 'ALREADY_EXISTS'
      if (!parents && !this.directories.has(this.parentOf(path))) return 'NOT_FOUND'
      for (let at = path; at !== '/'; at = this.parentOf(at)) this.directories.add(at)
      return 'ok'
    }

    put(path: string, fileId: FileId, { overwrite = false, parents = false }): string {
      if (path === '/') return 'IS_A_DIRECTORY'
      if (this.blocked(path)) return 'NOT_A_DIRECTORY'
      if (this.directories.has(path)) return 'IS_A_DIRECTORY'
      if (this.files.has(path) && !overwrite) return 'ALREADY_EXISTS'
      if (!parents && !this.directories.has(this.parentOf(path))) return 'NOT_FOUND'
      for (let at = this.parentOf(path); at !== '/'; at = this.parentOf(at)) this.directories.add(at)
      this.files.set(path, fileId)
      return 'ok'
    }

    mv(from: string, to: string): string {
      if (from === '/') return 'INVALID_PATH'
      if (this.blocked(from)) return 'NOT_A_DIRECTORY'
      if (!this.exists(from)) return 'NOT_FOUND'
      if (this.blocked(to)) return 'NOT_A_DIRECTORY'
      const name = from.slice(from.lastIndexOf('/'))
      const inside = this.directories.has(to)
      const target = inside ? (to === '/' ? name : to + name) : to
      if (!inside && !this.directories.has(this.parentOf(to))) return 'NOT_FOUND'
      if (
        this.directories.has(from) &&
        (target === from ? inside && to === from : target.startsWith(`${from}/`))
      )
        return 'INVALID_PATH'
      if (target === from) return 'ok'
      if (this.exists(target)) return 'ALREADY_EXISTS'
      for (const path of [from, ...this.below(from)]) {
        const moved = target + path.slice(from.length)
        const fileId = this.files.get(path)
        if (fileId === undefined) {
          this.directories.delete(path)
          this.directories.add(moved)
        } else {
          this.files.delete(path)
          this.files.set(moved, fileId)
        }
      }
      return 'ok'
    }

    rm(path: string, recursive: boolean): string {
      if (path === '/') return 'INVALID_PATH'
      if (this.blocked(path)) return 'NOT_A_DIRECTORY'
      if (!this.exists(path)) return 'NOT_FOUND'
      const below = this.below(path)
      if (below.length > 0 && !recursive) return 'DIRECTORY_NOT_EMPTY'
      for (const each of [path, ...below]) {
        this.files.delete(each)
        this.directories.delete(each)
      }
      return 'ok'
    }

    paths(): string[] {
      const directories = [...this.directories].filter(path => path !== '/').map(path => `${path}/`)
      return [...directories, ...this.files.keys()].sort()
    }
  }

  const path = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 4 }).map(names => `/${names.join('/')}`)
  const operation = fc.oneof(
    fc.record({ type: fc.constant('mkdir' as const), path, parents: fc.boolean() }),
    fc.record({
      type: fc.constant('put' as const),
      path,
      overwrite: fc.boolean(),
      parents: fc.boolean(),
      blocks: fc.nat(2),
    }),
    fc.record({ type: fc.constant('mv' as const), from: path, to: path }),
    fc.record({ type: fc.constant('rm' as const), path, recursive: fc.boolean() }),
    fc.record({ type: fc.constant('restart' as const) }),
  )

  it('answers and looks the same after any operations, also when restored from a snapshot on the way', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), operations => {
        const log = new Log()
        // The same log on a peer that never restarts must give the same state, byte for byte.
        const steady = new Log()
        const model = new Model()
        for (const [number, each] of operations.entries()) {
          const both = (act: (log: Log) => string): string => {
            const code = act(log)
            expect(act(steady)).toBe(code)
            return code
          }
          switch (each.type) {
            case 'mkdir':
              expect(both(log => log.code(each))).toBe(model.mkdir(each.path, each.parents))
              break
            case 'put': {
              const id = fileIdOf(number)
              const code = both(log =>
                log.put(each.path, id, each.blocks, { overwrite: each.overwrite, parents: each.parents }),
              )
              expect(code).toBe(model.put(each.path, id, each))
              break
            }
            case 'mv':
              expect(both(log => log.code(each))).toBe(model.mv(each.from, each.to))
              break
            case 'rm':
              expect(both(log => log.code(each))).toBe(model.rm(each.path, each.recursive))
              break
            case 'restart': {
              const snapshot = unpack(pack(log.namespace.snapshot()))
              log.namespace = new Namespace({ slotCount: 16 })
              log.namespace.restore(snapshot)
              break
            }
          }
          expect(log.paths()).toEqual(model.paths())
        }
        for (const [path, fileId] of model.files) expect(log.namespace.stat(path).fileId).toBe(fileId)
        expect(pack(log.namespace.snapshot())).toEqual(pack(steady.namespace.snapshot()))
      }),
      { numRuns: 300 },
    )
  })

  it('keeps open writes, holders and sessions in a snapshot', () => {
    const log = new Log()
    log.begin('/open', fileIdOf(1), { overwrite: true, parents: true })
    log.add(fileIdOf(1), blockOf(fileIdOf(1), 0, { holders: [eve], lines: 4, midLine: true }))
    log.apply({ type: 'mkdir', path: '/d', session: { clientId: 'c', seq: 7 } })
    const restored = new Log()
    restored.namespace.restore(unpack(pack(log.namespace.snapshot())))
    restored.namespace.assertInvariants()
    expect(restored.namespace.leaseOf(fileIdOf(1))).toEqual(log.namespace.leaseOf(fileIdOf(1)))
    expect(restored.apply({ type: 'mkdir', path: '/d', session: { clientId: 'c', seq: 7 } })).toEqual({
      ok: true,
      created: true,
    })
    expect(restored.commit(fileIdOf(1), 1)).toBe('ok')
    expect(restored.namespace.blocksOf('/open')).toMatchObject([{ holders: [eve], lines: 4, midLine: true }])
  })

  it('refuses a command of a newer version', () => {
    const command = { type: 'chmod', path: '/' } as unknown as NamespaceCommand
    expect(new Log().code(command)).toBe('BAD_MESSAGE')
  })

  it('refuses with errors that name the path', () => {
    const result = new Log().apply({ type: 'rm', path: '/no//such/' })
    expect(result.ok).toBe(false)
    if (!result.ok) expect(fromWire(result.error).message).toBe('/no/such does not exist')
  })
})
