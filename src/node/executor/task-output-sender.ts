import { sleep, toWire, type Logger } from '../../base/index.ts'
import { taskOutput, TASK_OUTPUT, type PrintedLine, type Requester, type TaskId } from '../../rdd/index.ts'
import type { Deliver } from '../relay.ts'

interface Queue {
  owner: { requester: Requester }
  printed: { id: TaskId; lines: PrintedLine[] }[]
  waitingLines: number
  sending: Promise<void> | undefined
}

export interface TaskOutputSenderParts {
  peer: { id: string; name: string }
  deliver: Deliver
  /** Aborts when the executor closes. */
  signal: AbortSignal
  log: Logger
}

/** Passes on what tasks print to the requesters of their jobs: in order, a bounded number of lines at a time. */
export class TaskOutputSender {
  readonly #parts: TaskOutputSenderParts
  readonly #queues = new Map<string, Queue>()

  constructor(parts: TaskOutputSenderParts) {
    this.#parts = parts
  }

  add(owner: Queue['owner'], jobId: string, id: TaskId, lines: readonly PrintedLine[]): void {
    let queue = this.#queues.get(jobId)
    if (queue === undefined) {
      queue = { owner, printed: [], waitingLines: 0, sending: undefined }
      this.#queues.set(jobId, queue)
    }
    const last = queue.printed.at(-1)
    const entry = last !== undefined && last.id === id ? last : { id, lines: [] }
    if (entry !== last) queue.printed.push(entry)
    for (const line of lines) take(queue, entry.lines, line)
    queue.sending ??= this.#send(jobId, queue)
  }

  /** Resolves when what the job's tasks have printed so far is where it belongs, or after `TASK_OUTPUT.flushMs`. */
  async flush(jobId: string): Promise<void> {
    const sending = this.#queues.get(jobId)?.sending
    if (sending === undefined) return
    const over = new AbortController()
    const signal = AbortSignal.any([over.signal, this.#parts.signal])
    await Promise.race([sending, sleep(TASK_OUTPUT.flushMs, { signal }).catch(() => {})])
    over.abort()
  }

  forgetJob(jobId: string): void {
    this.#queues.delete(jobId)
  }

  async #send(jobId: string, queue: Queue): Promise<void> {
    const { peer, deliver, signal, log } = this.#parts
    // What is printed in this turn of the event loop goes together.
    await Promise.resolve()
    let tries = 0
    while (queue.printed.length > 0 && !signal.aborted && this.#queues.get(jobId) === queue) {
      const printed = takeBatch(queue)
      try {
        await deliver(queue.owner.requester, taskOutput, {
          jobId,
          peer: peer.id,
          peerName: peer.name,
          printed,
        })
        tries = 0
      } catch (error) {
        log.debug({ jobId, error: toWire(error) }, 'the requester could not be told what its tasks print')
        queue.printed.unshift(...printed)
        tries += 1
        if (tries >= SEND_TRIES_MAX) leaveOut(queue)
        await sleep(SEND_AGAIN_MS, { signal }).catch(() => {})
      }
    }
    queue.sending = undefined
    if (queue.printed.length === 0 && this.#queues.get(jobId) === queue) this.#queues.delete(jobId)
  }
}

/** While a client finds another peer to be attached to. */
const SEND_AGAIN_MS = 200
/** About how long lines are kept for a requester that is away, before they only count. */
const SEND_TRIES_MAX = 25

function take(queue: Queue, lines: PrintedLine[], line: PrintedLine): void {
  if (queue.waitingLines < TASK_OUTPUT.waitingLinesMax) {
    lines.push(line)
    queue.waitingLines += 1
    return
  }
  const suppressed = 'suppressed' in line ? line.suppressed : 1
  const last = lines.at(-1)
  if (last !== undefined && 'suppressed' in last) last.suppressed += suppressed
  else {
    lines.push({ suppressed })
    queue.waitingLines += 1
  }
}

/** A message's head takes a megabyte: so many lines of the greatest length fit. */
function takeBatch(queue: Queue): Queue['printed'] {
  const batch: Queue['printed'] = []
  let room: number = TASK_OUTPUT.batchLines
  while (room > 0 && queue.printed.length > 0) {
    const first = queue.printed[0]!
    if (first.lines.length <= room) {
      batch.push(first)
      queue.printed.shift()
      room -= first.lines.length
      queue.waitingLines -= first.lines.length
    } else {
      batch.push({ id: first.id, lines: first.lines.splice(0, room) })
      queue.waitingLines -= room
      room = 0
    }
    if (first.lines.length === 0 && queue.printed[0] === first) queue.printed.shift()
  }
  return batch
}

/** Of each attempt stays how many lines it had. */
function leaveOut(queue: Queue): void {
  queue.printed = queue.printed.map(({ id, lines }) => {
    const suppressed = lines.reduce((sum, line) => sum + ('suppressed' in line ? line.suppressed : 1), 0)
    return { id, lines: [{ suppressed }] }
  })
  queue.waitingLines = queue.printed.length
}
