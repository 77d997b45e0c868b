import { parentPort, workerData } from 'node:worker_threads'
import { unpack } from '../base/index.ts'
import { ReplicatedState, type LogCommand } from './replicated-state.machine.ts'
import type { ReplayBatch, ReplayStart } from './replay.ts'
import { packParts, unpackParts } from './state-bytes.ts'

/** Entry of a worker thread: puts an earlier state together, applies what came since, and writes the result down. */
const port = parentPort!
const { base } = workerData as ReplayStart
const state = new ReplicatedState()
if (base !== undefined) state.restore(unpackParts(base))

port.on('message', (batch: ReplayBatch) => {
  for (const [index, term, timeMs, command] of unpack(batch.entries) as [
    number,
    number,
    number,
    Uint8Array,
  ][])
    state.apply(unpack(command) as LogCommand, { index, term, timeMs })
  if (!batch.last) return
  const snapshot = packParts(state.snapshot())
  port.postMessage(snapshot, [snapshot.buffer])
  port.close()
})
