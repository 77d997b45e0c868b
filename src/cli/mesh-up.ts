import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { sleep } from '../base/deadline.ts'
import { ShoalError } from '../base/errors.ts'
import {
  attach,
  isRunning,
  MESH_DIRECTORY,
  MeshDirectory,
  newMeshKey,
  writeMeshKey,
  type LocalPeer,
  type PeerStatus,
} from '../node/index.ts'
import { interruptible } from './interrupt.ts'
import { runningPeers, startPeer, stopPeers } from './local-peers.ts'
import { memberTable } from './mesh-status.ts'
import type { Settings } from './settings.ts'
import { StatusLine } from './status-line.ts'
import { colors, note, print, printJson } from './terminal.ts'
import { counted, humanMs } from './units.ts'

export interface UpOptions {
  peers?: number
  workers?: number
  /** Bytes. */
  memory?: number
  cacheMemory?: number
  cacheDisk?: number
  packages?: string
  dir?: string
  foreground?: boolean
  allowChaos?: boolean
}

const PEERS_DEFAULT = 3
/** From the last peer's start until all agree: an election, and one voter added after another. */
const AGREE_TIMEOUT_MS = 60_000
const POLL_MS = 50
/** Between looks whether all still run. */
const WATCH_MS = 300

/**
 * Starts what is missing of the local mesh, and waits until its peers agree. When one fails, those started by this call
 * are stopped again.
 */
export async function up(options: UpOptions, settings: Settings): Promise<void> {
  const startedMs = performance.now()
  const directory = place(options)
  const present = await directory.names()
  const running = await runningPeers(directory)
  const names = namesOf(present, options.peers)
  const isMember = (name: string): boolean => existsSync(join(directory.dataDirectory(name), 'mesh.json'))
  const missing = names
    .filter(name => !running.some(peer => peer.name === name))
    // Whoever knows the mesh goes first: another could only found a new one.
    .sort((a, b) => Number(isMember(b)) - Number(isMember(a)))
  await makeKey(directory, present)
  const workers = options.workers ?? Math.max(1, Math.floor(availableParallelism() / names.length))
  await interruptible(async signal => {
    using line = new StatusLine()
    try {
      await start(directory, {
        names,
        missing,
        workers,
        ...(options.memory === undefined ? {} : { memory: options.memory }),
        ...(options.cacheMemory === undefined ? {} : { cacheMemory: options.cacheMemory }),
        ...(options.cacheDisk === undefined ? {} : { cacheDisk: options.cacheDisk }),
        ...(options.packages === undefined ? {} : { packages: resolve(options.packages) }),
        allowChaos: options.allowChaos === true,
        line,
        signal,
      })
      const status = settings.wait ? await agreement(directory, names, line, signal) : undefined
      line[Symbol.dispose]()
      report({ directory, names, missing, status, tookMs: performance.now() - startedMs, settings })
    } catch (error) {
      line.show('stopping what was started …')
      const started = (await runningPeers(directory)).filter(({ name }) => missing.includes(name))
      await stopPeers(directory, started, { wait: true })
      throw error
    }
    if (options.foreground === true) await stay(directory, signal)
  })
}

function place({ dir }: UpOptions): MeshDirectory {
  if (dir !== undefined) return new MeshDirectory(join(dir, MESH_DIRECTORY))
  return MeshDirectory.find() ?? new MeshDirectory(MESH_DIRECTORY)
}

/** p1 … pN, and whoever else is here already: without its peers a mesh may lack its quorum. */
function namesOf(present: readonly string[], count: number | undefined): string[] {
  const names = [...present]
  const wanted = count ?? (present.length === 0 ? PEERS_DEFAULT : present.length)
  for (let i = 1; names.length < wanted; i++) {
    if (!names.includes(`p${i}`)) names.push(`p${i}`)
  }
  return names
}

async function makeKey(directory: MeshDirectory, present: readonly string[]): Promise<void> {
  if (existsSync(directory.keyFile)) return
  if (present.length > 0) await directory.meshKey()
  await mkdir(directory.path, { recursive: true, mode: 0o700 })
  await writeMeshKey(directory.path, newMeshKey())
}

interface StartParts {
  names: readonly string[]
  missing: readonly string[]
  workers: number
  memory?: number
  cacheMemory?: number
  cacheDisk?: number
  packages?: string
  allowChaos: boolean
  line: StatusLine
  signal: AbortSignal
}

/** The first alone, for it may have to create the mesh; then all others at once. */
async function start(directory: MeshDirectory, parts: StartParts): Promise<void> {
  const { names, missing, line, signal, ...how } = parts
  let serving = names.length - missing.length
  const show = (): void => line.show(`starting peers: ${serving} of ${names.length} …`)
  show()
  const one = async (name: string): Promise<LocalPeer> => {
    const join = (await directory.peers()).flatMap(({ addresses }) => addresses)
    const peer = await startPeer(directory, { name, ...how, join, signal })
    serving++
    show()
    return peer
  }
  const [first, ...others] = missing
  if (first === undefined) return
  await one(first)
  const started = await Promise.allSettled(others.map(one))
  for (const result of started) if (result.status === 'rejected') throw result.reason
}

/** Waits until there is a leader, everybody is up, and the mesh has the voters its size asks for. */
async function agreement(
  directory: MeshDirectory,
  names: readonly string[],
  line: StatusLine,
  signal: AbortSignal,
): Promise<PeerStatus> {
  const peers = (await directory.peers()).flatMap(({ addresses }) => addresses)
  await using mesh = await attach({ peers, meshKey: await directory.meshKey(), name: 'shoal up', signal })
  const untilMs = performance.now() + AGREE_TIMEOUT_MS
  for (;;) {
    const status = await mesh.status({ signal })
    const lacking = whatLacks(status, names, await directory.peers())
    if (lacking === undefined) return status
    line.show(`waiting for ${lacking} …`)
    if (performance.now() > untilMs) {
      throw new ShoalError(
        'TIMEOUT',
        { what: lacking, timeoutMs: AGREE_TIMEOUT_MS },
        `the mesh is not ready after ${AGREE_TIMEOUT_MS / 1000} s: still waiting for ${lacking}; see the logs in ${join(directory.path, 'log')}`,
      )
    }
    await ended(directory, names)
    await sleep(POLL_MS, { signal })
  }
}

function whatLacks(
  status: PeerStatus,
  names: readonly string[],
  serving: readonly LocalPeer[],
): string | undefined {
  const { members, leader, voters, votersTarget } = status
  if (leader === undefined) return 'a leader to be elected'
  // A peer that came back has a new address; until the log has it too, others may not reach it.
  const addresses = new Set(serving.flatMap(peer => peer.addresses))
  const up = members.filter(
    member =>
      member.state === 'up' &&
      member.liveness === 'alive' &&
      member.addresses.some(address => addresses.has(address)),
  )
  const away = names.filter(name => !up.some(member => member.name === name))
  if (away.length > 0) return `${away.join(', ')} to be a member`
  if (voters.length < votersTarget) return `voters (${voters.length} of ${votersTarget})`
  return undefined
}

/** @throws when a peer has ended that should run. */
async function ended(directory: MeshDirectory, names: readonly string[]): Promise<void> {
  const running = await runningPeers(directory)
  const gone = names.find(name => !running.some(peer => peer.name === name))
  if (gone === undefined) return
  throw new ShoalError(
    'UNREACHABLE',
    { peer: gone },
    `peer ${gone} has ended; see its log, ${directory.logFile(gone)}`,
  )
}

interface Report {
  directory: MeshDirectory
  names: readonly string[]
  missing: readonly string[]
  status: PeerStatus | undefined
  tookMs: number
  settings: Settings
}

function report({ directory, names, missing, status, tookMs, settings }: Report): void {
  if (settings.json) {
    printJson({ directory: directory.path, started: missing, ...status })
    return
  }
  if (status === undefined) {
    print(
      `${counted(names.length, 'peer')} started: ${names.join(', ')}. \`shoal status\` tells when they agree.`,
    )
    return
  }
  const leader = status.members.find(({ role }) => role === 'leader')?.name ?? '?'
  const done = missing.length === 0 ? 'ran already' : `in ${humanMs(tookMs)}`
  print(`${counted(names.length, 'peer')} agree (${done}); ${leader} leads, term ${status.term}.\n`)
  print(memberTable(status))
  const { cyan } = colors
  print(`
${cyan('shoal fs put FILE /file.txt')}   keep a file, in ${counted(Math.min(3, names.length), 'copy').replace('copys', 'copies')}
${cyan('shoal repl')}                    compute on it
${cyan('shoal status')}                  see the mesh
${cyan('shoal down')}                    stop it; the data stays in ${directory.path}`)
}

/** Until Ctrl-C, which takes the mesh down; says which peer ends before. Those started from elsewhere belong to it, too. */
async function stay(directory: MeshDirectory, signal: AbortSignal): Promise<void> {
  note('\nCtrl-C stops them.')
  let watched = await runningPeers(directory)
  while (!signal.aborted && watched.length > 0) {
    // Ctrl-C is what was waited for, not a failure.
    await sleep(WATCH_MS, { signal }).catch(() => {})
    for (const { name } of watched.filter(peer => !isRunning(peer))) {
      note(`peer ${name} has ended; \`shoal up\` in this folder starts it again`)
    }
    watched = await runningPeers(directory)
  }
  if (watched.length === 0) {
    note('no peer is left')
    return
  }
  note(`stopping ${counted(watched.length, 'peer')} …`)
  await stopPeers(directory, watched, { wait: true })
}
