import { describe, expect, test } from 'vitest'
import { seededRandom, ShoalError } from '../../../src/base/index.ts'
import {
  checkLinearizable,
  HistoryRecorder,
  lostFiles,
  NamespaceLoad,
  namespaceModel,
  wrongReads,
  type Attachment,
  type Operation,
} from '../../../src/chaos/index.ts'
import { gatherBytes } from '../../support/file-bytes.ts'
import { waitFor } from '../../support/wait-for.ts'

type Fs = Attachment['fs']

/** A namespace that is right, unless it is told to lie. */
class FakeMesh {
  readonly files = new Map<string, string>()
  /** Every n-th acknowledged create is forgotten at once. @default never */
  loseEvery = 0
  /** Every n-th read gives bytes that nobody wrote. @default never */
  corruptEvery = 0
  /** Every n-th read gives what was there before. @default never */
  staleEvery = 0
  /** Every n-th change is carried out and then ends without an answer. @default never */
  unknownEvery = 0
  attachments = 0
  #creates = 0
  #reads = 0
  #changes = 0
  readonly #before = new Map<string, string>()

  readonly attach = async (): Promise<Attachment> => {
    this.attachments++
    return { fs: this.#fs(), close: async () => {} }
  }

  #fs(): Fs {
    const missing = (path: string): never => {
      throw new ShoalError('NOT_FOUND', { path })
    }
    const changed = (): void => {
      if (++this.#changes % this.unknownEvery === 0) {
        throw new ShoalError('CONNECTION_LOST', { peer: 'p' })
      }
    }
    return {
      put: async (path, source, options) => {
        const text = (await gatherBytes(source)).toString()
        const present = this.files.get(path)
        if (present !== undefined && options?.overwrite !== true)
          throw new ShoalError('ALREADY_EXISTS', { path })
        if (present !== undefined) this.#before.set(path, present)
        if (++this.#creates % this.loseEvery !== 0) this.files.set(path, text)
        changed()
        return { path, fileId: '', sizeBytes: text.length, partitions: 1 } as unknown as ReturnType<Fs['put']>
      },
      rm: async path => {
        if (!this.files.delete(path)) missing(path)
        changed()
        return { files: 1, directories: 0, sizeBytes: 0 }
      },
      mv: async (from, to) => {
        const text = this.files.get(from) ?? missing(from)
        if (this.files.has(to)) throw new ShoalError('ALREADY_EXISTS', { path: to })
        this.files.delete(from)
        this.files.set(to, text)
        changed()
        return { path: to }
      },
      get: path => this.#read(path, missing),
      stat: async path => {
        const text = this.files.get(path) ?? missing(path)
        return { sizeBytes: text.length } as Awaited<ReturnType<Fs['stat']>>
      },
      ls: async path =>
        [...this.files.keys()]
          .filter(file => file.startsWith(`${path}/`))
          .map(file => ({ name: file.slice(path.length + 1) })) as Awaited<ReturnType<Fs['ls']>>,
    }
  }

  async *#read(path: string, missing: (path: string) => never): AsyncGenerator<Uint8Array, void> {
    const text = this.files.get(path) ?? missing(path)
    const n = ++this.#reads
    const before = this.#before.get(path)
    if (n % this.corruptEvery === 0) yield Buffer.from(`${text}!`)
    else if (n % this.staleEvery === 0 && before !== undefined) yield Buffer.from(before)
    else yield Buffer.from(text)
  }
}

async function played(mesh: FakeMesh, count = 400): Promise<Operation[]> {
  using recorder = new HistoryRecorder()
  const load = new NamespaceLoad({
    recorder,
    directory: '/d',
    clients: 4,
    random: seededRandom(3),
    attach: () => mesh.attach,
    files: 6,
    pauseMs: 0,
  })
  await waitFor('enough operations', () => recorder.operations().length > count)
  await load.stop()
  await load.audit((await mesh.attach()).fs)
  return recorder.operations()
}

const verdict = (history: Operation[]): string => checkLinearizable(namespaceModel, history).verdict

describe('clients of a namespace', () => {
  test('find nothing wrong with one that is right, and do everything', async () => {
    const history = await played(new FakeMesh())
    expect(verdict(history)).toBe('linearizable')
    expect([lostFiles(history), wrongReads(history)]).toEqual([[], []])
    const done = new Set(
      history.filter(({ output }) => output !== null && 'ok' in output).map(({ op }) => op),
    )
    expect([...done].toSorted()).toEqual([...namespaceModel.operations].toSorted())
  })

  test('an answer that got lost is unknown, and the next peer is asked', async () => {
    const mesh = new FakeMesh()
    mesh.unknownEvery = 5
    const history = await played(mesh)
    const unknown = history.filter(({ output }) => output === null)
    expect(unknown.length).toBeGreaterThan(5)
    expect(mesh.attachments).toBeGreaterThan(unknown.length)
    expect(verdict(history)).toBe('linearizable')
  })

  test('find files that were acknowledged and are lost', async () => {
    const mesh = new FakeMesh()
    mesh.loseEvery = 20
    expect(verdict(await played(mesh))).toBe('violated')
  })

  test('find stale reads', async () => {
    const mesh = new FakeMesh()
    mesh.staleEvery = 10
    expect(verdict(await played(mesh))).toBe('violated')
  })

  test('find wrong bytes', async () => {
    const mesh = new FakeMesh()
    mesh.corruptEvery = 10
    const history = await played(mesh)
    expect(wrongReads(history).length).toBeGreaterThan(0)
    expect(verdict(history)).toBe('violated')
  })
})

describe('plainly lost', () => {
  const op = (
    call: number,
    name: string,
    key: string,
    output: Operation['output'],
    input: string | null = null,
  ) => ({
    process: 'a',
    op: name,
    key,
    input,
    output,
    call,
    return: output === null ? null : call + 1,
  })
  const created = op(0, 'create', '/d/a', { ok: null }, 'x')
  const list = (call: number, ...names: string[]) => op(call, 'list', '/d', { ok: names })

  test('is what the last list lacks though it was acknowledged before', () => {
    expect(lostFiles([created, list(10)])).toEqual(['/d/a'])
    expect(lostFiles([created, list(10), list(20, 'a')])).toEqual([])
  })

  test('is not what somebody removed or renamed, or may have', () => {
    expect(lostFiles([created, op(5, 'delete', '/d/a', null), list(10)])).toEqual([])
    expect(lostFiles([created, op(5, 'rename', '/d/b', null, '/d/a'), list(10)])).toEqual([])
  })

  test('is not what was never acknowledged, or only after the list', () => {
    expect(lostFiles([op(0, 'create', '/d/a', null, 'x'), list(10)])).toEqual([])
    expect(lostFiles([list(0), { ...created, call: 5, return: 6 }])).toEqual([])
  })
})
