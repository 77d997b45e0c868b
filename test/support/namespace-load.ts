import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { seededRandom, type Random } from '../../src/base/index.ts'
import {
  checkLinearizable,
  describeCheck,
  HistoryRecorder,
  namespaceModel,
  runNamespaceClient,
  type Attachment,
  type NamespaceOperation,
  type Operation,
} from '../../src/chaos/index.ts'
import { attach } from '../../src/node/index.ts'
import { textOf } from './file-bytes.ts'
import type { LocalCluster } from './local-cluster.ts'

/** Histories of all rounds are kept there, a file for each. @default nowhere */
const HISTORIES = process.env['SHOAL_HISTORIES']
/** Reads at a time when what was acknowledged is looked for. */
const AUDITORS = 8
/** In a new mesh each client asks its own peer first, and then any other that runs. */
const ATTACH_TIMEOUT_MS = 4_000

export interface LoadOptions {
  /** Names the history and the directory. */
  name: string
  clients: number
  random: Random
  /** @default 12 */
  files?: number
  mix?: readonly NamespaceOperation[]
  pauseMs?: number
  operationTimeoutMs?: number
}

/** Clients that change and read one directory through all peers, and the history of what they were told. */
export class NamespaceLoad {
  readonly directory: string
  readonly recorder: HistoryRecorder
  readonly #cluster: LocalCluster
  readonly #over = new AbortController()
  readonly #clients: Promise<number[]>

  constructor(cluster: LocalCluster, options: LoadOptions) {
    const { name, clients, random, files = 12, ...rest } = options
    this.#cluster = cluster
    this.directory = `/${name}`
    this.recorder = new HistoryRecorder(historyFile(name))
    this.#clients = Promise.all(
      Array.from({ length: clients }, (_, i) =>
        runNamespaceClient({
          ...rest,
          process: `c${i}`,
          recorder: this.recorder,
          random: seededRandom(Math.floor(random.next() * 2 ** 31)),
          attach: attachInTurn(cluster, i),
          directory: this.directory,
          files,
          signal: this.#over.signal,
        }),
      ),
    )
    this.#clients.catch(() => {})
  }

  /** Changes that were acknowledged so far. */
  acknowledged(): Operation[] {
    return this.recorder
      .operations()
      .filter(({ op, output }) => writes(op) && output !== null && 'ok' in output)
  }

  /** Ends when every client has ended its last operation. @returns how many operations there were. */
  async stop(): Promise<number> {
    this.#over.abort()
    return (await this.#clients).reduce((sum, done) => sum + done, 0)
  }

  /**
   * Looks at every file through one client after all is over, as part of the history, and checks the whole.
   * @throws with what was wrong: files that were acknowledged and are not there, or no order that explains all answers.
   */
  async audit(): Promise<void> {
    const mesh = await this.#cluster.connect()
    try {
      const names = await this.#record('auditor', 'list', this.directory, async () =>
        (await mesh.fs.ls(this.directory)).map(entry => entry.name),
      )
      const paths = new Set(this.recorder.operations().map(({ key }) => key))
      const left = [...paths].filter(path => names.includes(path.slice(this.directory.length + 1)))
      await Promise.all(
        Array.from({ length: AUDITORS }, async (_, i) => {
          for (let path = left.pop(); path !== undefined; path = left.pop()) {
            const wanted = path
            await this.#record(`auditor${i}`, 'read', wanted, () => textOf(mesh.fs.get(wanted)))
          }
        }),
      )
    } finally {
      await mesh.close()
      this.recorder[Symbol.dispose]()
    }
    const result = checkLinearizable(namespaceModel, this.recorder.operations())
    if (result.verdict !== 'linearizable') throw new Error(describeCheck(result))
  }

  /** Whatever goes wrong here is a failure: all is well again. */
  async #record<T extends Operation['input']>(
    process: string,
    op: NamespaceOperation,
    path: string,
    ask: () => Promise<T>,
  ): Promise<T> {
    const operation = this.recorder.begin(process, op, path)
    const ok = await ask()
    operation.end({ ok })
    return ok
  }
}

function writes(op: string): boolean {
  return op === 'create' || op === 'overwrite' || op === 'delete' || op === 'rename'
}

function historyFile(name: string): { file?: string } {
  if (HISTORIES === undefined) return {}
  mkdirSync(HISTORIES, { recursive: true })
  return { file: join(HISTORIES, `${name.replaceAll('/', '-')}.jsonl`) }
}

/** Its own peer first, after each failure the next one that runs. */
function attachInTurn(cluster: LocalCluster, first: number): (signal: AbortSignal) => Promise<Attachment> {
  let turn = first
  return async signal => {
    const peer = cluster.peers[turn++ % cluster.peers.length]!
    return await attach({
      peers: [...peer.addresses],
      meshKey: cluster.key,
      timeoutMs: ATTACH_TIMEOUT_MS,
      signal,
    })
  }
}
