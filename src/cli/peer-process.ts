import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { pino } from 'pino'
import { ShoalError } from '../base/errors.ts'
import {
  createPeer,
  MESH_DIRECTORY,
  MeshDirectory,
  readMeshKey,
  readMeshKeyFile,
  tuneForStreams,
  writeMeshKey,
  type Peer,
} from '../node/index.ts'
import { Interrupted, EXIT_INTERRUPTED } from './interrupt.ts'
import type { Settings } from './settings.ts'
import { print } from './terminal.ts'

export interface PeerProcessOptions {
  data?: string
  join?: string[]
  meshKey?: string
  name?: string
  listen?: string[]
  host?: string
  zone?: string
  weight?: number
  /** MiB per second. */
  copyRate?: number
  workers?: number
  /** Bytes. */
  memory?: number
  cacheMemory?: number
  cacheDisk?: number
  packages?: string
  log?: string
  allowChaos?: boolean
}

/** Where a peer lives, and the local mesh whose directory that is, if any. */
interface Home {
  name: string
  data: string
  local: MeshDirectory | undefined
}

/** A stop that takes longer is cut short: the peer's log is durable anyway. */
const STOP_TIMEOUT_MS = 8_000
const DEFAULT_NAME = 'p1'
/** Names become file names. */
const NAME_PATTERN = /^[A-Za-z0-9][\w.-]{0,63}$/

/** Runs a peer until SIGINT or SIGTERM, or until it cannot go on. @throws what createPeer throws, and what made it fail. */
export async function runPeer(options: PeerProcessOptions, settings: Settings): Promise<void> {
  tuneForStreams()
  const home = homeOf(options)
  const log = pino(
    { level: process.env['SHOAL_LOG'] ?? 'info', base: { peer: home.name } },
    pino.destination(
      options.log === undefined ? 2 : { dest: resolve(options.log), append: true, mkdir: true },
    ),
  )
  const stop = new AbortController()
  const onSignal = (signal: string): void => {
    if (stop.signal.aborted) process.exit(EXIT_INTERRUPTED)
    log.info({ signal }, 'stopping')
    stop.abort(new Interrupted())
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)

  const join = await seedsOf(options, home)
  const meshKey = await keyOf(options, home)
  const { allowChaos, name, listen, host, zone, weight, copyRate, workers, memory, packages } = options
  const { cacheMemory, cacheDisk } = options
  const peer = await createPeer({
    dataDirectory: home.data,
    join,
    log,
    signal: stop.signal,
    ...(home.local === undefined && name === undefined ? {} : { name: home.name }),
    ...(meshKey === undefined ? {} : { meshKey }),
    ...(allowChaos === undefined ? {} : { allowChaos }),
    ...(listen === undefined ? {} : { listen }),
    ...(host === undefined ? {} : { host }),
    ...(zone === undefined ? {} : { zone }),
    ...(weight === undefined ? {} : { weight }),
    ...(copyRate === undefined ? {} : { copyBytesPerSecond: copyRate * 2 ** 20 }),
    ...(workers === undefined ? {} : { workers }),
    ...(memory === undefined ? {} : { memoryBytes: memory }),
    ...(cacheMemory === undefined ? {} : { cacheBytes: cacheMemory }),
    ...(cacheDisk === undefined ? {} : { cacheDiskBytes: cacheDisk }),
    ...(packages === undefined ? {} : { packages: resolve(packages) }),
  })
  try {
    await register(peer, home)
    announce(peer, home, settings)
    await Promise.race([aborted(stop.signal), peer.drained, peer.failed.then(error => Promise.reject(error))])
  } finally {
    await home.local?.unregister(home.name)
    await Promise.race([peer.stop(), late()])
    log.info({}, 'stopped')
  }
}

function homeOf({ data, name = DEFAULT_NAME }: PeerProcessOptions): Home {
  if (!NAME_PATTERN.test(name)) {
    const reason = 'it must be of letters, digits, dots, dashes and underscores, at most 64'
    throw new ShoalError(
      'CONFIG_INVALID',
      { option: '--name', reason },
      `--name ${JSON.stringify(name)}: ${reason}`,
    )
  }
  if (data === undefined) {
    const local = MeshDirectory.find() ?? new MeshDirectory(MESH_DIRECTORY)
    return { name, data: local.dataDirectory(name), local }
  }
  const path = resolve(data)
  const folder = dirname(dirname(path))
  const isLocal = basename(folder) === MESH_DIRECTORY && basename(dirname(path)) === 'peers'
  if (!isLocal) return { name, data: path, local: undefined }
  return { name: basename(path), data: path, local: new MeshDirectory(folder) }
}

/** Of a local mesh, its running peers; so that nobody founds a second mesh beside it by mistake. */
async function seedsOf(
  { join: given = [] }: PeerProcessOptions,
  { data, local, name }: Home,
): Promise<string[]> {
  const running = (await local?.peers()) ?? []
  if (given.length > 0) {
    return given.flatMap(seed => running.find(peer => peer.name === seed)?.addresses ?? [seed])
  }
  const others = running.filter(peer => peer.name !== name)
  if (others.length > 0) return others.flatMap(({ addresses }) => addresses)
  const isMember = existsSync(join(data, 'mesh.json'))
  const neighbours = ((await local?.names()) ?? []).filter(other => other !== name)
  if (!isMember && neighbours.length > 0) {
    throw new ShoalError(
      'UNREACHABLE',
      { peer: neighbours[0]! },
      `${local!.path} holds a mesh (${neighbours.join(', ')}) of which no peer runs: start it with \`shoal up\`, then this peer`,
    )
  }
  return []
}

async function keyOf({ meshKey }: PeerProcessOptions, { local }: Home): Promise<Uint8Array | undefined> {
  if (meshKey !== undefined) return await readMeshKeyFile(meshKey)
  return local !== undefined && existsSync(local.keyFile) ? await readMeshKey(local.path) : undefined
}

/** From here on clients find it. */
async function register(peer: Peer, { name, data, local }: Home): Promise<void> {
  if (local === undefined) return
  if (!existsSync(local.keyFile)) {
    await mkdir(local.path, { recursive: true, mode: 0o700 })
    await writeMeshKey(local.path, await readMeshKey(data))
  }
  await local.register({ name, pid: process.pid, addresses: peer.addresses(), directory: data })
}

function announce(peer: Peer, { data }: Home, { json }: Settings): void {
  const addresses = peer.addresses()
  if (json) {
    print(
      JSON.stringify({ name: peer.name, peerId: peer.id, meshId: peer.meshId, pid: process.pid, addresses }),
    )
    return
  }
  const key = join(data, 'mesh.key')
  print(`peer ${peer.name} serves at ${addresses.join(' and ')}`)
  print(`join it with: shoal peer --join ${addresses[0] ?? ''} --mesh-key ${key} --name NAME`)
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
}

async function late(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  setTimeout(resolve, STOP_TIMEOUT_MS).unref()
  await promise
}
