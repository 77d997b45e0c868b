import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { asFileId, asPeerId, pack, unpack, type FileId } from '../../../src/base/index.ts'
import { blockIdOf, Namespace, type NamespaceCommand } from '../../../src/dht/index.ts'

/**
 * The namespace against a model that copies everything: a snapshot is a deep copy, the trash a list, a quota a count of
 * all there is. Random commands; the model says what may be, or that the namespace must refuse.
 */

const SHA = 'cd'.repeat(32)
const HOLDERS = ['ada', 'bob', 'eve'].map(asPeerId)

interface ModelFile {
  sizes: number[]
  replication: number
  owner: string
}
/** Paths of directories ('dir') and files. */
type Tree = Map<string, 'dir' | ModelFile>

const below = (path: string, top: string): boolean =>
  path === top || top === '/' || path.startsWith(`${top}/`)
const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/'
const copyOf = (tree: Tree): Tree => structuredClone(tree)

class Model {
  tree: Tree = new Map([['/', 'dir']])
  snapshots = new Map<string, Tree>()
  trash: { path: string; ms: number; tree: Tree }[] = []
  quotas = new Map<string, { names: number | undefined; bytes: number | undefined }>()
  lastMs = 0

  isDirectory(path: string): boolean {
    return this.tree.get(path) === 'dir'
  }

  /** Files and directories with a path at or below. */
  at(top: string, tree = this.tree): Tree {
    return new Map([...tree].filter(([path]) => below(path, top)))
  }

  bytes(tree: Tree): number {
    let sum = 0
    for (const node of tree.values()) {
      if (node !== 'dir') sum += node.sizes.reduce((a, b) => a + b, 0) * node.replication
    }
    return sum
  }

  /** True when no quota above refuses what would be. */
  fits(next: Tree): boolean {
    for (const [path, { names, bytes }] of this.quotas) {
      const [now, then] = [this.at(path), this.at(path, next)]
      const trashed = path === '/' ? this.trashNames() : 0
      if (names !== undefined && then.size > now.size && then.size + trashed > names) return false
      const held = path === '/' ? this.trashBytes() : 0
      if (bytes !== undefined && this.bytes(then) > this.bytes(now) && this.bytes(then) + held > bytes)
        return false
    }
    return true
  }

  /** The trash has a folder, one for each removal, the directories on the way and what was removed. */
  trashNames(): number {
    if (this.lastMs === 0) return 0
    return 1 + this.trash.reduce((sum, { path, tree }) => sum + path.split('/').length - 1 + tree.size, 0)
  }

  trashBytes(): number {
    return this.trash.reduce((sum, { tree }) => sum + this.bytes(tree), 0)
  }

  put(path: string, file: ModelFile, overwrite: boolean): boolean {
    const there = this.tree.get(path)
    if (path === '/' || there === 'dir' || (there !== undefined && !overwrite)) return false
    if (!this.isDirectory(parentOf(path))) return false
    const next = copyOf(this.tree).set(path, file)
    if (!this.fits(next)) return false
    this.tree = next
    return true
  }

  mkdir(path: string): boolean {
    if (this.tree.has(path) || !this.isDirectory(parentOf(path))) return false
    const next = copyOf(this.tree).set(path, 'dir')
    if (!this.fits(next)) return false
    this.tree = next
    return true
  }

  snapshotsIn(top: string): boolean {
    return [...this.snapshots.keys()].some(key => below(key.split('@')[0]!, top))
  }

  mv(from: string, to: string): boolean {
    const node = this.tree.get(from)
    if (from === '/' || node === undefined) return false
    const name = from.slice(from.lastIndexOf('/') + 1)
    const target = this.isDirectory(to) ? (to === '/' ? `/${name}` : `${to}/${name}`) : to
    if (!this.isDirectory(parentOf(target)) || below(target, from)) return target === from
    if (this.tree.has(target) || this.snapshotsIn(from)) return false
    const next: Tree = new Map()
    for (const [path, each] of copyOf(this.tree)) {
      next.set(below(path, from) ? target + path.slice(from.length) : path, each)
    }
    if (!this.fits(next)) return false
    this.quotas = new Map(
      [...this.quotas].map(([path, quota]) => [
        below(path, from) ? target + path.slice(from.length) : path,
        quota,
      ]),
    )
    this.tree = next
    return true
  }

  rm(path: string, trash: boolean, timeMs: number): boolean {
    if (path === '/' || !this.tree.has(path) || this.snapshotsIn(path)) return false
    if (trash) {
      this.lastMs = Math.max(timeMs, this.lastMs + 1)
      this.trash.push({ path, ms: this.lastMs, tree: this.at(path) })
    }
    for (const gone of this.at(path).keys()) this.tree.delete(gone)
    for (const [quota] of this.quotas) if (below(quota, path)) this.quotas.delete(quota)
    return true
  }

  /** Brings back the last removal of exactly this path. */
  undelete(path: string): boolean {
    const at = this.trash.findLastIndex(removal => below(path, removal.path) && removal.tree.has(path))
    const removal = this.trash[at]
    if (removal === undefined || this.tree.has(path)) return false
    const next = copyOf(this.tree)
    for (let above = parentOf(path); !next.has(above); above = parentOf(above)) next.set(above, 'dir')
    for (let above = parentOf(path); above !== '/'; above = parentOf(above))
      if (next.get(above) !== 'dir') return false
    for (const [each, node] of this.at(path, removal.tree)) next.set(each, node)
    if (!this.fitsBack(next, removal, path)) return false
    this.tree = next
    for (const each of this.at(path, removal.tree).keys()) removal.tree.delete(each)
    if (path === removal.path) this.trash.splice(at, 1)
    return true
  }

  /** What comes back out of the trash is new for all quotas but the root's, for which only made directories are. */
  fitsBack(next: Tree, removal: { tree: Tree }, path: string): boolean {
    const root = this.quotas.get('/')
    this.quotas.delete('/')
    const fits = this.fits(next)
    if (root !== undefined) this.quotas.set('/', root)
    const made = next.size - this.tree.size - this.at(path, removal.tree).size
    const full =
      root?.names !== undefined && made > 0 && this.tree.size + this.trashNames() + made > root.names
    return fits && !full
  }
}

const names = fc.constantFrom('a', 'b', 'c')
const path = fc.array(names, { maxLength: 3 }).map(parts => `/${parts.join('/')}`)
const size = fc.integer({ min: 1, max: 20 })
const operation = fc.oneof(
  { weight: 3, arbitrary: fc.record({ type: fc.constant('mkdir' as const), path }) },
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant('put' as const),
      path,
      sizes: fc.array(size, { maxLength: 3 }),
      overwrite: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('append' as const), path, size, rewrite: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('mv' as const), path, to: path }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('rm' as const), path, trash: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('undelete' as const), path }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('expunge' as const), ageMs: fc.nat(30) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('quota' as const),
      path,
      names: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
      bytes: fc.option(fc.integer({ min: 1, max: 200 }), { nil: undefined }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('snapshot' as const), path, name: names }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('drop' as const), path, name: names }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('setrep' as const),
      path,
      replication: fc.integer({ min: 1, max: 5 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('chown' as const), path, owner: names }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('restart' as const) }) },
)
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never

class Run {
  namespace = new Namespace({ slotCount: 16 })
  readonly model = new Model()
  #index = 0
  #files = 0
  timeMs = 1_000

  apply(command: NamespaceCommand): boolean {
    return this.namespace.apply(command, { index: ++this.#index, term: 1, timeMs: this.timeMs }).ok
  }

  newId(): FileId {
    return asFileId((++this.#files).toString(16).padStart(32, '0'))
  }

  block(fileId: FileId, index: number, sizeBytes: number) {
    const blockId = blockIdOf(fileId, index, this.#index.toString(16))
    return { index, blockId, sizeBytes, sha256: SHA, holders: HOLDERS }
  }

  put(at: string, sizes: readonly number[], overwrite: boolean): boolean {
    const fileId = this.newId()
    if (!this.apply({ type: 'begin-file', path: at, fileId, leaseMs: 10_000, overwrite })) return false
    const blocks = sizes.map((sizeBytes, index) => this.block(fileId, index, sizeBytes))
    const added = blocks.length === 0 || this.apply({ type: 'add-blocks', fileId, blocks })
    if (added && this.apply({ type: 'commit-file', fileId, blockCount: sizes.length })) return true
    this.apply({ type: 'abandon-file', fileId })
    return false
  }

  append(at: string, sizeBytes: number, rewrite: boolean): boolean {
    const index = this.#index + 1
    const begun = this.namespace.apply(
      { type: 'begin-append', path: at, leaseMs: 10_000 },
      { index: ++this.#index, term: 1, timeMs: this.timeMs },
    )
    if (!begun.ok || !('partitions' in begun) || !('lease' in begun)) return false
    const { fileId, lease, partitions } = begun
    expect(lease).toBe(index)
    const from = rewrite && partitions > 0 ? partitions - 1 : partitions
    const last = from < partitions ? this.namespace.blocksOf(at)[from]!.sizeBytes : 0
    const blocks = [this.block(fileId, from, last + sizeBytes)]
    const added = this.apply({ type: 'add-blocks', fileId, lease, blocks })
    if (added && this.apply({ type: 'commit-file', fileId, lease, from, blockCount: from + 1 })) return true
    this.apply({ type: 'abandon-file', fileId, lease })
    return false
  }

  step(operation: Operation): void {
    const { model } = this
    this.timeMs += 7
    switch (operation.type) {
      case 'mkdir':
        expect(this.apply(operation)).toBe(model.mkdir(operation.path))
        break
      case 'put': {
        const file = { sizes: operation.sizes, replication: 3, owner: '' }
        expect(this.put(operation.path, operation.sizes, operation.overwrite)).toBe(
          model.put(operation.path, file, operation.overwrite),
        )
        break
      }
      case 'append': {
        const { path: at, size: bytes, rewrite } = operation
        const file = model.tree.get(at)
        const sizes = file === undefined || file === 'dir' ? [] : [...file.sizes]
        if (rewrite && sizes.length > 0) sizes.push(sizes.pop()! + bytes)
        else sizes.push(bytes)
        const may = file !== undefined && file !== 'dir' && model.put(at, { ...file, sizes }, true)
        expect(this.append(at, bytes, rewrite)).toBe(may)
        break
      }
      case 'mv':
        expect(this.apply({ type: 'mv', from: operation.path, to: operation.to })).toBe(
          model.mv(operation.path, operation.to),
        )
        break
      case 'rm': {
        const { path: at, trash } = operation
        expect(this.apply({ type: 'rm', path: at, recursive: true, trash })).toBe(
          model.rm(at, trash, this.timeMs),
        )
        break
      }
      case 'undelete':
        expect(this.apply(operation)).toBe(model.undelete(operation.path))
        break
      case 'expunge':
        expect(this.apply(operation)).toBe(true)
        model.trash = model.trash.filter(({ ms }) => ms + operation.ageMs > this.timeMs)
        break
      case 'quota': {
        const { path: at, names: limit, bytes } = operation
        const may = model.isDirectory(at)
        expect(this.apply({ type: 'set-quota', path: at, names: limit ?? null, bytes: bytes ?? null })).toBe(
          may,
        )
        if (may) model.quotas.set(at, { names: limit, bytes })
        break
      }
      case 'snapshot': {
        const { path: at, name } = operation
        const nested = [...model.snapshots.keys()]
          .map(key => key.split('@')[0]!)
          .some(root => root !== at && (below(root, at) || below(at, root)))
        const may = model.isDirectory(at) && !nested && !model.snapshots.has(`${at}@${name}`)
        expect(this.apply({ type: 'create-snapshot', path: at, name })).toBe(may)
        if (may) model.snapshots.set(`${at}@${name}`, copyOf(model.at(at)))
        break
      }
      case 'drop': {
        const { path: at, name } = operation
        expect(this.apply({ type: 'delete-snapshot', path: at, name })).toBe(
          model.snapshots.delete(`${at}@${name}`),
        )
        break
      }
      case 'setrep': {
        const { path: at, replication } = operation
        const next = copyOf(model.tree)
        for (const [each, node] of next) if (below(each, at) && node !== 'dir') node.replication = replication
        const may = model.tree.has(at) && model.fits(next)
        expect(this.apply({ type: 'set-replication', path: at, replication, recursive: true })).toBe(may)
        if (may) model.tree = next
        break
      }
      case 'chown': {
        const { path: at, owner } = operation
        const next = copyOf(model.tree)
        const node = next.get(at)
        expect(this.apply({ type: 'set-attributes', path: at, owner })).toBe(node !== undefined)
        if (node !== undefined && node !== 'dir') node.owner = owner
        model.tree = next
        break
      }
      case 'restart': {
        const restored = new Namespace({ slotCount: 16 })
        const snapshot = pack(this.namespace.snapshot())
        restored.restore(unpack(snapshot))
        expect(Buffer.from(pack(restored.snapshot())).equals(snapshot)).toBe(true)
        this.namespace = restored
      }
    }
    this.namespace.assertInvariants()
  }

  /** What the namespace shows at and below a path, as the model has it. */
  shown(top: string): Tree {
    const found: Tree = new Map([[top, 'dir']])
    for (const directory of found.keys()) {
      if (found.get(directory) !== 'dir') continue
      for (const entry of this.namespace.list(directory)) {
        if (entry.path === '/.trash') continue
        if (entry.type === 'directory') found.set(entry.path, 'dir')
        else {
          const sizes = this.namespace.blocksOf(entry.path).map(block => block.sizeBytes)
          expect(sizes.reduce((a, b) => a + b, 0)).toBe(entry.sizeBytes)
          found.set(entry.path, { sizes, replication: entry.replication!, owner: entry.owner ?? '' })
        }
      }
    }
    return found
  }

  compare(): void {
    const { model, namespace } = this
    expect(sorted(this.shown('/'))).toEqual(sorted(model.tree))
    for (const [key, tree] of model.snapshots) {
      const [root, name] = key.split('@') as [string, string]
      const at = root === '/' ? `/.snapshot/${name}` : `${root}/.snapshot/${name}`
      const then = [...tree].map(
        ([each, node]) => [at + (root === '/' ? each : each.slice(root.length)), node] as const,
      )
      const expected = new Map(then.map(([each, node]) => [each === `${at}/` ? at : each, node]))
      expect(sorted(this.shown(at))).toEqual(sorted(expected))
      for (const [each, node] of expected) {
        if (node === 'dir') continue
        for (const block of namespace.blocksOf(each)) expect(namespace.isReferenced(block.blockId)).toBe(true)
      }
    }
    const trash = namespace.trash().map(({ path: at, deletedMs, files }) => [at, deletedMs, files])
    const files = (tree: Tree): number => [...tree.values()].filter(node => node !== 'dir').length
    expect(trash).toEqual(model.trash.map(({ path: at, ms, tree }) => [at, ms, files(tree)]))
    for (const [at] of model.quotas) {
      if (at === '/') continue
      expect(namespace.quota(at).names.used).toBe(model.at(at).size)
      expect(namespace.quota(at).bytes.used).toBe(model.bytes(model.at(at)))
    }
    // Without snapshots, trash and files nothing is left of any block.
    const blocks = namespace.slotsWithData().flatMap(slot => namespace.blocksInSlot(slot))
    expect(namespace.openWrites()).toBe(0)
    if (model.snapshots.size === 0) {
      const trees = [model.tree, ...model.trash.map(({ tree }) => tree)]
      const wanted = trees.flatMap(tree =>
        [...tree.values()].flatMap(node => (node === 'dir' ? [] : node.sizes)),
      )
      expect(blocks.length).toBe(wanted.length)
    }
  }
}

function sorted(tree: Tree): [string, 'dir' | ModelFile][] {
  return [...tree].sort(([a], [b]) => (a < b ? -1 : 1))
}

it('does what a model does that copies everything, with snapshots, trash, quotas, appends and restarts', () => {
  fc.assert(
    fc.property(fc.array(operation, { minLength: 10, maxLength: 60 }), operations => {
      const run = new Run()
      for (const each of operations) {
        run.step(each)
        run.compare()
      }
      // In the end everything that a snapshot kept goes with it.
      for (const key of run.model.snapshots.keys()) {
        const [at, name] = key.split('@') as [string, 'a' | 'b' | 'c']
        run.step({ type: 'drop', path: at, name })
      }
      run.compare()
    }),
    { numRuns: 300 },
  )
})
