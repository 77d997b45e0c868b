import { parentPort, threadId, workerData, type TransferListItem } from 'node:worker_threads'
import { asBlockId, fromWire, hasCode, ShoalError, toWire } from '../../base/index.ts'
import { blockDataPath, readBlockFile } from '../../dht/index.ts'
import {
  damaged,
  decodePlan,
  decodeValue,
  destroyed,
  TaskRunner,
  usePackagesOf,
  type KeptKey,
  type Plan,
  type TaskPorts,
} from '../../rdd/index.ts'
import { readKeptFile } from './kept-files.ts'
import { cacheKey } from './partition-cache.ts'
import { MemoryGrants } from './memory-grants.ts'
import { OutputCredit } from './output-credit.ts'
import { SpillFiles } from './spill-files.ts'
import { StreamInbox } from './stream-inbox.ts'
import { TaskConsole } from './task-console.ts'
import {
  OUTPUT_CREDIT_BYTES,
  type FromWorker,
  type KeptAt,
  type ToWorker,
  type WorkerSettings,
} from './worker-protocol.ts'
import { keptFilePrefix } from './worker-thread.ts'

/**
 * Entry of a worker thread: runs one task at a time. Local blocks are read from disk right here; everything else comes
 * through the main thread. It has no network and no state that matters: it may be terminated at any moment.
 */
const settings = workerData as WorkerSettings
const port = parentPort!
usePackagesOf(settings.packages)
const cancelFlag = new Int32Array(settings.cancelFlag)
const grants = new MemoryGrants(settings.memoryCells, settings.memoryBytes)
const spills = new SpillFiles({
  directory: settings.spillDirectory,
  prefix: `worker-${threadId}`,
  reserveBytes: settings.diskReserveBytes,
  peer: settings.self,
})
const runner = new TaskRunner()
const plans = new Map<string, Plan>()
/** Bytes until a task reads it, its value from then on. */
const broadcasts = new Map<string, { bytes: Uint8Array } | { value: unknown }>()
const taskConsole = new TaskConsole({
  post: lines => post({ type: 'printed', lines }),
  counts: new Int32Array(settings.outputCounts),
  nowMs: () => performance.now(),
})
taskConsole.install()
const cached = new Map<string, KeptAt>()
const keptFiles = new SpillFiles({
  directory: settings.keptDirectory,
  prefix: '',
  reserveBytes: settings.diskReserveBytes,
  peer: settings.self,
})
let filesMade = 0
/** Who waits to hear of room, by the number of the request. */
const asking = new Map<number, (granted: boolean) => void>()
let asked = 0
const inbox = new StreamInbox({
  onConsumed: (stream, bytes) => post({ type: 'credit', stream, bytes }),
  onClosed: stream => post({ type: 'close-stream', stream }),
})
/** The file name of the running task's output, should it need one. */
let keptFile = ''
const output = new OutputCredit(OUTPUT_CREDIT_BYTES)

function post(message: FromWorker, transfer: TransferListItem[] = []): void {
  port.postMessage(message, transfer)
}

const ports: TaskPorts = {
  readBlock,
  async *fetchBuckets(locations, reduce) {
    const stream = inbox.open()
    post({ type: 'fetch-buckets', stream, locations, reduce })
    for await (const { bytes, map } of inbox.read(stream)) yield { map: map!, bytes }
  },
  kept: {
    read(key, holders) {
      const at = cached.get(cacheKey(key))
      const rows = at === undefined ? undefined : keptHere(key, at)
      if (rows === undefined) return holders.length === 0 ? undefined : keptElsewhere(key, holders)
      post({ type: 'used', key, damaged: false })
      return rows
    },
    async room(place, key, bytes) {
      const request = asked++
      const answer = new Promise<boolean>(resolve => {
        asking.set(request, resolve)
      })
      post({ type: 'room', request, place, key, bytes })
      return await answer
    },
    keep(content) {
      const { fingerprint, partition, level, sizeBytes } = content
      const key = { fingerprint, partition }
      if ('chunks' in content) {
        const { chunks } = content
        cached.set(cacheKey(key), { chunks })
        post({ type: 'keep', content: { ...key, level, sizeBytes, chunks } })
        return
      }
      const { file, fileBytes } = content
      cached.set(cacheKey(key), { file, fileBytes })
      post({ type: 'keep', content: { ...key, level, sizeBytes, file, fileBytes } })
    },
    openFile: () => keptFiles.open(`${keptFilePrefix(threadId)}${filesMade++}.rows`),
    readFile({ file, fileBytes }) {
      const rows = readKeptFile(file, fileBytes)
      if (rows === undefined) throw damaged('its file is gone')
      return rows
    },
  },
  async writeOutput(chunk) {
    await output.take(chunk.byteLength)
    const bytes = new Uint8Array(chunk)
    post({ type: 'output', task: output.task, bytes }, [bytes.buffer])
  },
  broadcast(id) {
    const known = broadcasts.get(id)
    // Sent before the task began: it can only have been destroyed since.
    if (known === undefined) throw destroyed(id)
    if ('value' in known) return known.value
    const value = decodeValue(known.bytes)
    broadcasts.set(id, { value })
    return value
  },
  cancelled() {
    taskConsole.tick()
    return Atomics.load(cancelFlag, 0) === 1
  },
  memoryLimitBytes: settings.memoryLimitBytes,
  reserveMemory: totalBytes => grants.resize(settings.worker, totalBytes),
  openSpill: kind => spills.open(kind === 'kept' ? keptFile : undefined),
}

/** Undefined when its file has been removed since this worker heard of it. */
function keptHere(key: KeptKey, at: KeptAt): Iterable<Uint8Array> | undefined {
  if ('chunks' in at) return at.chunks
  const chunks = readKeptFile(at.file, at.fileBytes)
  return chunks === undefined ? undefined : reportingDamage(key, chunks)
}

function* reportingDamage(
  { fingerprint, partition }: KeptKey,
  chunks: Iterable<Uint8Array>,
): Generator<Uint8Array, void, undefined> {
  try {
    yield* chunks
  } catch (error) {
    // The next attempt is to compute it.
    cached.delete(cacheKey({ fingerprint, partition }))
    post({ type: 'used', key: { fingerprint, partition }, damaged: true })
    throw error
  }
}

async function keptElsewhere(
  { fingerprint, partition }: KeptKey,
  holders: readonly string[],
): Promise<AsyncIterable<Uint8Array> | undefined> {
  const stream = inbox.open()
  post({ type: 'fetch-kept', stream, key: { fingerprint, partition }, holders })
  const chunks = inbox.read(stream)[Symbol.asyncIterator]()
  let first: Awaited<ReturnType<typeof chunks.next>>
  try {
    first = await chunks.next()
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return undefined
    throw error
  }
  return rest(first, chunks)
}

async function* rest(
  first: IteratorResult<{ bytes: Uint8Array }, unknown>,
  chunks: AsyncIterator<{ bytes: Uint8Array }, unknown>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let next = first; next.done !== true; next = await chunks.next()) yield next.value.bytes
}

/** From the local disk as far as it is good, the rest from another holder: no byte twice, none left out. */
async function* readBlock(
  blockId: string,
  start: number,
  end: number,
  holders: string[],
): AsyncGenerator<Uint8Array> {
  let at = start
  let elsewhere = holders
  if (holders.includes(settings.self)) {
    try {
      const path = blockDataPath(settings.dataDirectory, asBlockId(blockId))
      for (const chunk of readBlockFile(path, { start, end, block: blockId, peer: settings.self })) {
        yield chunk
        at += chunk.byteLength
      }
      return
    } catch (error) {
      if (!(error instanceof ShoalError)) throw error
      elsewhere = holders.filter(holder => holder !== settings.self)
    }
  }
  const stream = inbox.open()
  post({ type: 'read-block', stream, blockId, start: at, end, holders: elsewhere })
  for await (const { bytes } of inbox.read(stream)) yield bytes
}

async function run(message: Extract<ToWorker, { type: 'run' }>): Promise<void> {
  let plan = plans.get(message.jobId)
  keptFile = message.keptFile
  output.begin()
  try {
    if (plan === undefined) {
      if (message.plan === undefined)
        throw new ShoalError('PLAN_INVALID', { reason: 'the worker was given no plan' })
      plan = decodePlan(message.plan)
      plans.set(message.jobId, plan)
    }
    taskConsole.begin()
    const outcome = await runner.runTask(message.jobId, plan, message.input, ports)
    if (outcome.type !== 'failed') await output.drained()
    taskConsole.end()
    post({ type: 'ended', outcome }, transferable(outcome))
  } catch (error) {
    taskConsole.end()
    post({ type: 'ended', outcome: { type: 'failed', error: toWire(error) } })
  } finally {
    inbox.closeAll()
  }
}

function transferable(outcome: { type: string; bytes?: Uint8Array }): TransferListItem[] {
  const buffer = outcome.bytes?.buffer
  return buffer instanceof ArrayBuffer && buffer.byteLength === outcome.bytes?.byteLength ? [buffer] : []
}

port.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'run':
      void run(message)
      break
    case 'forget-job':
      plans.delete(message.jobId)
      runner.endJob(message.jobId)
      break
    case 'cached':
      cached.set(cacheKey(message.key), message.at)
      break
    case 'uncached':
      cached.delete(cacheKey(message.key))
      break
    case 'room-made':
      asking.get(message.request)?.(message.granted)
      asking.delete(message.request)
      break
    case 'broadcast':
      broadcasts.set(message.id, { bytes: message.bytes })
      break
    case 'forget-broadcasts':
      for (const id of message.ids) broadcasts.delete(id)
      break
    case 'chunk':
      inbox.push(message.stream, message.bytes, message.map)
      break
    case 'end':
      inbox.end(message.stream)
      break
    case 'error':
      inbox.fail(message.stream, fromWire(message.error))
      break
    case 'output-taken':
      output.taken(
        message.task,
        message.bytes,
        message.error === undefined ? undefined : fromWire(message.error),
      )
      break
  }
})
