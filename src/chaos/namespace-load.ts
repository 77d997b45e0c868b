import { seededRandom, type Random } from '../base/index.ts'
import {
  runNamespaceClient,
  type Attachment,
  type NamespaceClientOptions,
  type NamespaceOperation,
  type WorkloadFiles,
} from './namespace-client.ts'
import type { Operation } from './operation.ts'

export interface NamespaceLoadOptions extends Pick<
  NamespaceClientOptions,
  'recorder' | 'directory' | 'mix' | 'pauseMs' | 'operationTimeoutMs'
> {
  /** Before the numbers of its clients, which name them in the history. @default 'c' */
  prefix?: string
  clients: number
  random: Random
  /** Way into the mesh of the n-th client, from 0. */
  attach: (client: number) => (signal: AbortSignal) => Promise<Attachment>
  /** @default 12 */
  files?: number
}

/** Reads at a time when it is looked at what is there. */
const AUDITORS = 8
const FILES = 12

/** Clients that change and read one directory, until they are stopped. */
export class NamespaceLoad {
  readonly #options: NamespaceLoadOptions
  readonly #over = new AbortController()
  readonly #clients: Promise<number[]>

  constructor(options: NamespaceLoadOptions) {
    const { prefix = 'c', clients, random, attach, files = FILES, ...shared } = options
    this.#options = options
    this.#clients = Promise.all(
      Array.from({ length: clients }, (_, i) =>
        runNamespaceClient({
          ...shared,
          process: `${prefix}${i}`,
          random: seededRandom(Math.floor(random.next() * 2 ** 31)),
          attach: attach(i),
          files,
          signal: this.#over.signal,
        }),
      ),
    )
    this.#clients.catch(() => {})
  }

  /** Changes that were acknowledged so far. */
  acknowledged(): number {
    return this.#mine().filter(({ op, output }) => isChange(op) && isDone(output)).length
  }

  /** Ends when every client has ended its last operation. @returns how many operations there were. */
  async stop(): Promise<number> {
    this.#over.abort()
    return (await this.#clients).reduce((sum, done) => sum + done, 0)
  }

  /**
   * After all is over: lists the directory and reads every file in it, as a part of the history.
   * @throws whatever these end with; all is well again, so none of them may.
   */
  async audit(fs: WorkloadFiles): Promise<void> {
    const { directory } = this.#options
    const known = new Set(this.#mine().map(({ key }) => key))
    const names = await this.#record('auditor', 'list', directory, async () =>
      (await fs.ls(directory)).map(entry => entry.name),
    )
    const left = names.map(name => `${directory}/${name}`).filter(path => known.has(path))
    await Promise.all(
      Array.from({ length: AUDITORS }, async (_, i) => {
        for (let path = left.pop(); path !== undefined; path = left.pop()) {
          const wanted = path
          await this.#record(`auditor${i}`, 'read', wanted, () => textOf(fs.get(wanted)))
        }
      }),
    )
  }

  #mine(): Operation[] {
    const { recorder, directory } = this.#options
    return recorder.operations().filter(({ key }) => key === directory || key.startsWith(`${directory}/`))
  }

  async #record<T extends Operation['input']>(
    process: string,
    op: NamespaceOperation,
    path: string,
    ask: () => Promise<T>,
  ): Promise<T> {
    const operation = this.#options.recorder.begin(process, op, path)
    const ok = await ask()
    operation.end({ ok })
    return ok
  }
}

/**
 * Files whose creation was acknowledged, that nobody asked to delete or rename, and that the last list of their directory
 * lacks. The checker finds them too, among others; these are plainly lost.
 */
export function lostFiles(history: readonly Operation[]): string[] {
  const lists = history.filter(({ op, output }) => op === 'list' && isDone(output))
  const lastLists = new Map(lists.toSorted((a, b) => a.call - b.call).map(list => [list.key, list]))
  const touched = new Set<unknown>()
  for (const { op, key, input } of history) {
    if (op === 'delete' || op === 'rename') touched.add(key).add(input)
  }
  const lost = new Set<string>()
  for (const { op, key, output, return: returned } of history) {
    if ((op !== 'create' && op !== 'overwrite') || !isDone(output) || touched.has(key)) continue
    const slash = key.lastIndexOf('/')
    const list = lastLists.get(key.slice(0, slash))
    if (list === undefined || list.call < (returned ?? Infinity)) continue
    if (!namesOf(list).includes(key.slice(slash + 1))) lost.add(key)
  }
  return [...lost]
}

/** Reads that gave what nobody ever wrote. */
export function wrongReads(history: readonly Operation[]): Operation[] {
  const written = new Set<unknown>()
  for (const { op, input } of history) if (op === 'create' || op === 'overwrite') written.add(input)
  return history.filter(
    ({ op, output }) => op === 'read' && output !== null && 'ok' in output && !written.has(output.ok),
  )
}

function namesOf({ output }: Operation): unknown[] {
  return output !== null && 'ok' in output && Array.isArray(output.ok) ? output.ok : []
}

function isChange(op: string): boolean {
  return op === 'create' || op === 'overwrite' || op === 'delete' || op === 'rename'
}

function isDone(output: Operation['output']): boolean {
  return output !== null && 'ok' in output
}

async function textOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}
