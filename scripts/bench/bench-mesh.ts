import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { attach, MESH_DIRECTORY, MeshDirectory, type LocalPeer, type Mesh } from '../../src/node/index.ts'
import { timeMs } from './figures.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
/** Of Linux, where CPU time is counted in hundredths of a second. */
const TICKS_PER_SECOND = 100

/**
 * A mesh of peers as processes of their own in a temporary directory, started and stopped with the commands that users
 * have, and a client attached to its first peer. `SHOAL_BENCH_PROFILE=DIR` makes the peers write CPU profiles there.
 */
export class BenchMesh implements AsyncDisposable {
  readonly directory: string
  readonly peers: readonly LocalPeer[]
  readonly mesh: Mesh
  /** From typing the command until all agree. */
  readonly formedMs: number
  readonly #local: MeshDirectory
  readonly #up: string[]

  private constructor(parts: {
    directory: string
    local: MeshDirectory
    up: string[]
    peers: LocalPeer[]
    mesh: Mesh
    formedMs: number
  }) {
    this.directory = parts.directory
    this.#local = parts.local
    this.#up = parts.up
    this.peers = parts.peers
    this.mesh = parts.mesh
    this.formedMs = parts.formedMs
  }

  /** @param options.memory Of each peer, as `--memory` takes it. */
  static async start(options: { peers: number; workers: number; memory?: string }): Promise<BenchMesh> {
    const directory = mkdtempSync(join(tmpdir(), 'shoal-bench-'))
    running.add(directory)
    try {
      const { peers: count, workers, memory } = options
      const up = ['up', '--peers', String(count), '--workers', String(workers), '--dir', directory, '--json']
      if (memory !== undefined) up.push('--memory', memory)
      const formedMs = await timeMs(() => shoal(up))
      const local = new MeshDirectory(join(directory, MESH_DIRECTORY))
      const peers = await local.peers()
      const mesh = await attach({
        peers: peers.flatMap(({ addresses }) => addresses),
        meshKey: await local.meshKey(),
        name: 'bench',
      })
      return new BenchMesh({ directory, local, up, peers, mesh, formedMs })
    } catch (error) {
      await stop(directory)
      throw error
    }
  }

  /** The peers that run now. */
  async localPeers(): Promise<LocalPeer[]> {
    return await this.#local.peers()
  }

  async meshKey(): Promise<Uint8Array> {
    return await this.#local.meshKey()
  }

  /** Starts the peers that were killed, as a user would. */
  async revive(): Promise<void> {
    await shoal(this.#up)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mesh.close()
    await stop(this.directory)
  }
}

/** Directories of meshes that run. */
const running = new Set<string>()

/** For a benchmark that is interrupted: its peers are processes of their own and would stay. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map(stop))
}

async function stop(directory: string): Promise<void> {
  running.delete(directory)
  await shoal(['down', '--dir', directory, '--json'])
  await rm(directory, { recursive: true, force: true })
}

async function shoal(args: string[]): Promise<void> {
  const profiles = process.env['SHOAL_BENCH_PROFILE']
  const env =
    profiles === undefined || args[0] !== 'up'
      ? process.env
      : { ...process.env, NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profiles}` }
  await run([PROGRAM, ...args], env)
}

/** Runs a Node script to its end and returns what it printed. */
export async function run(args: string[], env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const done = Promise.withResolvers<number | null>()
  child.on('error', done.reject)
  child.on('close', done.resolve)
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  const code = await done.promise
  if (code !== 0) throw new Error(`node ${args.join(' ')} ended with ${code}`)
  return out
}

/** Resident memory of a process, in bytes. */
export function residentBytes(pid: number): number {
  const found = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(found![1]) * 1024
}

/** CPU time that a process has used, in seconds. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}
