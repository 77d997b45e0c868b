import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  checkLinearizable,
  describeCheck,
  describeOperation,
  HistoryRecorder,
  lostFiles,
  NamespaceLoad,
  namespaceModel,
  wrongReads,
  type Attachment,
  type NamespaceLoadOptions,
} from '../../src/chaos/index.ts'
import { attach } from '../../src/node/index.ts'
import type { LocalCluster } from './local-cluster.ts'

/** Histories of all rounds are kept there, a file for each. @default nowhere */
const HISTORIES = process.env['SHOAL_HISTORIES']
const ATTACH_TIMEOUT_MS = 4_000

export interface ClusterLoadOptions extends Omit<NamespaceLoadOptions, 'recorder' | 'directory' | 'attach'> {
  /** Names the directory and the history. */
  name: string
}

/** Clients that change and read one directory through all peers of a cluster, and the history of what they were told. */
export class ClusterLoad implements AsyncDisposable {
  readonly recorder: HistoryRecorder
  readonly #cluster: LocalCluster
  readonly #load: NamespaceLoad

  constructor(cluster: LocalCluster, { name, ...options }: ClusterLoadOptions) {
    this.#cluster = cluster
    this.recorder = new HistoryRecorder(historyFile(name))
    this.#load = new NamespaceLoad({
      ...options,
      recorder: this.recorder,
      directory: `/${name}`,
      attach: client => attachInTurn(cluster, client),
    })
  }

  acknowledged(): number {
    return this.#load.acknowledged()
  }

  async stop(): Promise<number> {
    return await this.#load.stop()
  }

  /**
   * Looks at every file after all is over, and checks the whole.
   * @throws with what was wrong: files that were acknowledged and are not there, or no order that explains all answers.
   */
  async audit(): Promise<void> {
    const mesh = await this.#cluster.connect()
    try {
      await this.#load.audit(mesh.fs)
    } finally {
      await mesh.close()
    }
    const history = this.recorder.operations()
    const lost = lostFiles(history)
    if (lost.length > 0) throw new Error(`acknowledged and lost: ${lost.join(', ')}`)
    const wrong = wrongReads(history)
    if (wrong.length > 0) throw new Error(`never written: ${wrong.map(describeOperation).join('; ')}`)
    const result = checkLinearizable(namespaceModel, history)
    if (result.verdict !== 'linearizable') throw new Error(describeCheck(result))
  }

  /** Also after a failure: its clients would go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    this.recorder[Symbol.dispose]()
  }
}

function historyFile(name: string): { file?: string } {
  if (HISTORIES === undefined) return {}
  mkdirSync(HISTORIES, { recursive: true })
  return { file: join(HISTORIES, `${name.replaceAll('/', '-')}.jsonl`) }
}

/** Its own peer first, after each failure the next one. */
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
