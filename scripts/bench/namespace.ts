import { createHash } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { setTimeout as sleep } from 'node:timers/promises'
import { runInNewContext } from 'node:vm'
import { asFileId, asPeerId, pack, systemClock, unpack } from '../../src/base/index.ts'
import { blockIdOf, type NamespaceCommand } from '../../src/dht/index.ts'
import { inSlices } from '../../src/gossip/in-slices.ts'
import { replay, type ReplayedCommand } from '../../src/node/replay.ts'
import { ReplicatedState, type LogCommand } from '../../src/node/replicated-state.machine.ts'
import { packParts, unpackParts } from '../../src/node/state-bytes.ts'
import type { Figures } from './figures.ts'

const FILES = 100_000
const FILES_PER_DIRECTORY = 1_000
const PEERS = Array.from({ length: 5 }, (_, peer) =>
  asPeerId(`12D3KooW${digest(`peer ${peer}`).slice(0, 44)}`),
)
/** What a file and its one block may take on the heap of every peer. */
const BYTES_PER_FILE_MAX = 600
/** Heartbeats come each 300 ms, and a peer that is late by 250 ms doubts itself. */
const PAUSE_MS_MAX = 50
/** As many as there are between two snapshots. */
const REPLAYED = 10_000
const TIMER_MS = 5

/** The replicated name table with 100,000 files of one block each: memory, speed, snapshot. One process, no network. */
export async function namespace(figures: Figures): Promise<void> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const heapBytes = (): number => {
    collect()
    collect()
    return process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers
  }
  const before = heapBytes()
  let log = newLog()
  let spentMs = 0
  let operations = 0
  for (let first = 0; first < FILES; first += FILES_PER_DIRECTORY) {
    // Encoded and decoded in the measured time, as entries come out of the log; made outside of it.
    const entries = commandsOf(first).map(pack)
    const startedMs = performance.now()
    for (const entry of entries) log.apply(unpack(entry) as NamespaceCommand)
    spentMs += performance.now() - startedMs
    operations += entries.length
  }
  const bytesPerFile = (heapBytes() - before) / FILES
  figures.add({
    name: `heap per file of one block (${FILES.toLocaleString('en')} files)`,
    value: `${bytesPerFile.toFixed(0)} bytes`,
    score: bytesPerFile,
    target: { atMost: BYTES_PER_FILE_MAX },
  })
  figures.add({
    name: 'commands decoded and applied',
    value: `${((operations / spentMs) * 1000).toLocaleString('en', { maximumFractionDigits: 0 })} a second`,
  })

  const directory = log.namespace.list('/').at(-1)?.path ?? '/'
  figures.add({
    name: `a page of 1,000 entries`,
    value: `${timed(() => log.namespace.list(directory, { limit: 1_000 })).toFixed(1)} ms`,
  })
  figures.add({ name: 'usage of the root', value: `${timed(() => log.namespace.usage('/')).toFixed(2)} ms` })
  const live = new Set(PEERS.slice(1))
  figures.add({
    name: 'under-replicated partitions, one of five peers dead',
    value: `${timed(() => log.namespace.underReplicated(live, 100)).toFixed(2)} ms`,
  })

  let packed: Uint8Array = new Uint8Array()
  const snapshotMs = timed(() => {
    packed = packParts(log.state.snapshot())
  })
  figures.add({
    name: 'snapshot, taken and encoded in one go',
    value: `${(packed.length / 2 ** 20).toFixed(1)} MiB in ${snapshotMs.toFixed(0)} ms`,
  })
  // Only the restored one is to be on the heap.
  log = newLog()
  const empty = heapBytes()
  const restored = await undisturbed(() => inSlices(log.state.restoring(unpackParts(packed)), systemClock))
  figures.add({
    name: 'restored from it, longest pause of this thread',
    value: `${restored.pauseMs.toFixed(0)} ms, after ${restored.tookMs.toFixed(0)} ms`,
    score: restored.pauseMs,
    target: { atMost: PAUSE_MS_MAX },
  })
  figures.add({
    name: 'heap per file, restored',
    value: `${((heapBytes() - empty) / FILES).toFixed(0)} bytes`,
  })
  const commands = commandsOf(FILES, REPLAYED).slice(0, REPLAYED)
  const replayed = commands.map((command, at): ReplayedCommand => {
    const index = operations + 1 + at
    return { index, term: 1, timeMs: timeOf(index), data: pack(inLog(command)) }
  })
  let made: Uint8Array = new Uint8Array()
  const aside = await undisturbed(async () => {
    made = await replay(packed.slice(), replayed, new AbortController().signal)
  })
  figures.add({
    name: 'snapshot made aside, longest pause of this thread',
    value: `${aside.pauseMs.toFixed(0)} ms, after ${aside.tookMs.toFixed(0)} ms`,
    score: aside.pauseMs,
    target: { atMost: PAUSE_MS_MAX },
  })
  for (const { index, timeMs, data } of replayed)
    log.state.apply(unpack(data) as LogCommand, { index, term: 1, timeMs })
  if (!Buffer.from(made).equals(packParts(log.state.snapshot()))) throw new Error('the snapshots differ')
  log.state.assertInvariants()
}

/**
 * The longest for which this thread worked without letting timers through, while the work was done: in its own time,
 * without what other processes of the machine took from it.
 */
async function undisturbed(work: () => Promise<void>): Promise<{ pauseMs: number; tookMs: number }> {
  const startedMs = performance.now()
  const ownMs = (): number => {
    const { user, system } = process.threadCpuUsage()
    return (user + system) / 1_000
  }
  let lastMs = ownMs()
  let pauseMs = 0
  const timer = setInterval(() => {
    const nowMs = ownMs()
    pauseMs = Math.max(pauseMs, nowMs - lastMs)
    lastMs = nowMs
  }, TIMER_MS)
  await work()
  await sleep(2 * TIMER_MS)
  clearInterval(timer)
  return { pauseMs, tookMs: performance.now() - startedMs - 2 * TIMER_MS }
}

function newLog() {
  const state = new ReplicatedState()
  let index = 0
  return {
    state,
    get namespace() {
      return state.namespace
    },
    apply(command: NamespaceCommand): void {
      index++
      const result = state.apply(inLog(command), { index, term: 1, timeMs: timeOf(index) })
      if (!result.ok) throw new Error(result.error.message)
    },
  }
}

function inLog(command: NamespaceCommand): LogCommand {
  return { part: 'dht', command }
}

function timeOf(index: number): number {
  return 1_700_000_000_000 + index
}

function commandsOf(first: number, count = FILES_PER_DIRECTORY): NamespaceCommand[] {
  const directory = `/data/day-${String(first / FILES_PER_DIRECTORY).padStart(4, '0')}`
  const commands: NamespaceCommand[] = [{ type: 'mkdir', path: directory, parents: true }]
  for (let file = first; file < first + count; file++) {
    const sha256 = digest(`file ${file}`)
    const fileId = asFileId(sha256.slice(0, 32))
    const holders = [0, 1, 2].map(copy => PEERS[(file + copy) % PEERS.length]!)
    const block = {
      index: 0,
      blockId: blockIdOf(fileId, 0, sha256.slice(32, 40)),
      sizeBytes: 1_000,
      sha256,
      holders,
    }
    commands.push(
      { type: 'begin-file', path: `${directory}/part-${file}.json`, fileId, leaseMs: 60_000 },
      { type: 'add-blocks', fileId, blocks: [block] },
      { type: 'commit-file', fileId, blockCount: 1 },
    )
  }
  return commands
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function timed(action: () => void): number {
  const startedMs = performance.now()
  action()
  return performance.now() - startedMs
}
