import { open } from 'node:fs/promises'
import { below, hasCode, pick, shuffled, ShoalError, sleep, type Random } from '../../base/index.ts'
import { asBlockId } from '../../base/ids.ts'
import type { HistoryRecorder } from '../../chaos/index.ts'
import { blockDataPath } from '../../dht/index.ts'
import type { Mesh, MeshDirectory } from '../../node/index.ts'
import type { HarmName } from '../commands/chaos.ts'
import { runningPeers, startPeer, type RunningPeer } from '../local-peers.ts'

export interface HarmParts {
  directory: MeshDirectory
  random: Random
  recorder: HistoryRecorder
  /** Below it are files that only harms write. */
  path: string
  round: number
  workers: number
  /** Whether peers that start again obey orders. */
  allowChaos: boolean
  attach: (peer: RunningPeer | undefined, signal: AbortSignal) => Promise<Mesh>
  signal: AbortSignal
}

/** How long a peer stays away, stands still, is cut off or has no disk: drawn between these. */
const TROUBLE_MS_MIN = 1_000
const TROUBLE_MS_MAX = 6_000
const CORRUPT_FILE_BYTES = 200_000

type Harm = (peers: readonly RunningPeer[], parts: HarmParts) => Promise<string>

/** Each does its harm, ends it, and says what it was. */
const HARMS: Record<HarmName, Harm> = { kill, pause, cut, corrupt, fill }

/** @returns what was done, for people. @throws when the mesh did not bear it. */
export async function harm(name: HarmName, parts: HarmParts): Promise<string> {
  const peers = shuffled(parts.random, await runningPeers(parts.directory))
  return await HARMS[name](peers, parts)
}

async function kill(peers: readonly RunningPeer[], parts: HarmParts): Promise<string> {
  const { name, pid } = first(peers)
  const ms = troubleMs(parts.random)
  process.kill(pid, 'SIGKILL')
  // Whatever happens meanwhile, it is started again.
  await sleep(ms, parts).catch(() => {})
  await startAgain(parts, name)
  return `killed ${name}, started it again after ${ms} ms`
}

/** Starts a peer of the local mesh that does not run. */
export async function startAgain(
  { directory, workers, allowChaos }: Pick<HarmParts, 'directory' | 'workers' | 'allowChaos'>,
  name: string,
): Promise<void> {
  const join = (await directory.peers()).flatMap(({ addresses }) => addresses)
  const { signal } = new AbortController()
  await startPeer(directory, { name, workers, allowChaos, join, signal })
}

async function pause(peers: readonly RunningPeer[], parts: HarmParts): Promise<string> {
  const { name, pid } = first(peers)
  const ms = troubleMs(parts.random)
  process.kill(pid, 'SIGSTOP')
  try {
    await sleep(ms, parts)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  return `had ${name} stand still for ${ms} ms`
}

async function cut(peers: readonly RunningPeer[], parts: HarmParts): Promise<string> {
  const ms = troubleMs(parts.random)
  const few = peers.slice(0, Math.max(1, Math.floor((peers.length - 1) / 2)))
  const ids = await idsOf(parts)
  const others = [...ids].filter(([name]) => !few.some(peer => peer.name === name)).map(([, id]) => id)
  for (const peer of few) {
    const mesh = await parts.attach(peer, parts.signal)
    try {
      await ordered(mesh.cutOff(others, ms, parts))
    } finally {
      await mesh.close()
    }
  }
  await sleep(ms, parts)
  return `cut ${few.map(({ name }) => name).join(', ')} off from the others for ${ms} ms`
}

async function fill(peers: readonly RunningPeer[], parts: HarmParts): Promise<string> {
  const ms = troubleMs(parts.random)
  const peer = first(peers)
  const mesh = await parts.attach(peer, parts.signal)
  try {
    await ordered(mesh.fillDisk(ms, parts))
    await sleep(ms, parts)
  } finally {
    await mesh.close()
  }
  return `had the disk of ${peer.name} be full for ${ms} ms`
}

/** Flips a byte of one copy, of a file written for that, and reads the file through the very peer that holds it. */
async function corrupt(peers: readonly RunningPeer[], parts: HarmParts): Promise<string> {
  const { random, recorder, directory, signal } = parts
  const path = `${parts.path}/${parts.round}`
  const content = `${parts.round} `.repeat(CORRUPT_FILE_BYTES / 10)
  const mesh = await parts.attach(undefined, signal)
  let victim: RunningPeer
  try {
    const created = recorder.begin('chaos', 'create', path, content)
    await mesh.fs.put(path, once(Buffer.from(content)), { parents: true, format: 'binary', signal })
    created.end({ ok: null })
    const { partitions } = await mesh.fs.locate(path, { signal })
    const [place] = partitions
    const ids = await idsOf(parts)
    const holders = peers.filter(({ name }) => place?.holders.some(holder => holder === ids.get(name)))
    if (place === undefined || holders.length < 2)
      return 'nothing: a copy is only corrupted where there is another'
    victim = holders[0]!
    await flip(blockDataPath(directory.dataDirectory(victim.name), asBlockId(place.blockId)), random)
  } finally {
    await mesh.close()
  }
  const reader = await parts.attach(victim, signal)
  try {
    const read = recorder.begin('chaos', 'read', path)
    read.end({ ok: await textOf(reader.fs.get(path, { signal })) })
  } finally {
    await reader.close()
  }
  return `flipped a byte of ${path} on ${victim.name} and read it there`
}

async function flip(path: string, random: Random): Promise<void> {
  await using file = await open(path, 'r+')
  const { size } = await file.stat()
  const at = below(random, size)
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, at)
  byte[0] = byte[0]! ^ (1 << below(random, 8))
  await file.write(byte, 0, 1, at)
  await file.sync()
}

async function idsOf({ attach, signal }: HarmParts): Promise<Map<string, string>> {
  const mesh = await attach(undefined, signal)
  try {
    const { members } = await mesh.status({ signal })
    return new Map(members.map(({ name, peerId }) => [name, peerId]))
  } finally {
    await mesh.close()
  }
}

async function ordered(order: Promise<void>): Promise<void> {
  try {
    await order
  } catch (error) {
    if (!hasCode(error, 'UNKNOWN_MESSAGE')) throw error
    throw new ShoalError(
      'CONFIG_INVALID',
      { option: '--actions', reason: 'the peers do not obey' },
      'cut and fill need peers that obey: start them with `shoal up --allow-chaos` (after `shoal down`), or leave these two out',
      { cause: error },
    )
  }
}

function first(peers: readonly RunningPeer[]): RunningPeer {
  const [peer] = peers
  if (peer !== undefined) return peer
  throw new ShoalError('UNREACHABLE', { peer: '' }, 'no peer of the local mesh runs')
}

function troubleMs(random: Random): number {
  return TROUBLE_MS_MIN + below(random, TROUBLE_MS_MAX - TROUBLE_MS_MIN)
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function textOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/** One of the actions, by chance. */
export function drawHarm(random: Random, names: readonly HarmName[]): HarmName {
  return pick(random, names) ?? 'kill'
}
