import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { sleep } from '../../src/base/index.ts'
import { runningPeers, stopPeers } from '../../src/cli/local-peers.ts'
import { isRunning, MESH_DIRECTORY, MeshDirectory } from '../../src/node/index.ts'
import { connect, type Mesh } from '../../src/index.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
const POLL_MS = 10

/** A mesh of processes on this machine, as `shoal up` makes it, in a temporary folder that goes with it. */
export class DemoMesh implements AsyncDisposable {
  readonly folder: string
  readonly #directory: MeshDirectory
  readonly #attached = new Set<Mesh>()
  /** Leave everything as it is at the end. */
  kept = false

  private constructor(folder: string) {
    this.folder = folder
    this.#directory = new MeshDirectory(join(folder, MESH_DIRECTORY))
  }

  static async prepare(): Promise<DemoMesh> {
    return new DemoMesh(await mkdtemp(join(tmpdir(), 'shoal-demo-')))
  }

  /** Runs `shoal up`, which ends when all peers agree. */
  async up(peers: number, signal: AbortSignal): Promise<void> {
    const options = ['--peers', `${peers}`, '--workers', '1', '--dir', this.folder]
    // A group of its own: Ctrl-C reaches it through us, once.
    const child = spawn(process.execPath, [PROGRAM, 'up', ...options], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const stop = (): void => void child.kill('SIGTERM')
    signal.addEventListener('abort', stop, { once: true })
    try {
      const ended = once(child, 'close') as Promise<[number | null]>
      const [, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), ended])
      signal.throwIfAborted()
      if (code !== 0) throw new Error(`\`shoal up\` failed with exit code ${code}: ${errors.trim()}`)
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  /** Attaches to the named peer, or to the first that answers. */
  async connect(signal: AbortSignal, peer?: string): Promise<Mesh> {
    const { folder } = this
    const mesh = await connect({
      from: folder,
      signal,
      name: 'demo',
      ...(peer === undefined ? {} : { peer }),
    })
    this.#attached.add(mesh)
    return mesh
  }

  /** SIGKILL: the process gets no chance to say or save anything. Resolves when it is gone. @returns its pid. */
  async kill(name: string, signal: AbortSignal): Promise<number> {
    const run = (await runningPeers(this.#directory)).find(peer => peer.name === name)
    if (run === undefined) throw new Error(`${name} does not run`)
    process.kill(run.pid, 'SIGKILL')
    while (isRunning(run)) await sleep(POLL_MS, { signal })
    return run.pid
  }

  get keyFile(): string {
    return this.#directory.keyFile
  }

  /** Stops whatever still runs, and removes the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const mesh of this.#attached) await mesh.close()
    if (this.kept) return
    await stopPeers(this.#directory, await runningPeers(this.#directory), { wait: true })
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}
