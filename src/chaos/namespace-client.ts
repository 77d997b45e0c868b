import {
  below,
  hasCode,
  pick,
  ShoalError,
  sleep,
  withDeadline,
  type ErrorCode,
  type Random,
} from '../base/index.ts'
import type { FileClient } from '../dht/index.ts'
import type { HistoryRecorder } from './history.ts'
import type { Operation, Outcome } from './operation.ts'

export type WorkloadFiles = Pick<FileClient, 'put' | 'get' | 'rm' | 'mv' | 'stat' | 'ls'>

/** A way into the mesh, through one peer. */
export interface Attachment {
  readonly fs: WorkloadFiles
  close(): Promise<void>
}

export interface NamespaceClientOptions {
  /** Its name in the history; no other uses it. */
  process: string
  recorder: HistoryRecorder
  random: Random
  /** Attaches to a peer, to another one after the last did not answer; rejects while none does. */
  attach: (signal: AbortSignal) => Promise<Attachment>
  /** Nobody else touches it; made with the first file in it. */
  directory: string
  /** Files in it that all clients fight over. The more, the less they fight; renames go between the 1st and 2nd, 3rd and 4th… */
  files: number
  /** What to do, each as often as it is named. @default a mix of all */
  mix?: readonly NamespaceOperation[]
  /** Of one operation; it is of unknown outcome then. @default 20_000 */
  operationTimeoutMs?: number
  /** Between two operations, at most. @default 20 */
  pauseMs?: number
  /** Stops it; the operation under way still ends, in its time. */
  signal: AbortSignal
}

export type NamespaceOperation = 'create' | 'overwrite' | 'delete' | 'rename' | 'read' | 'stat' | 'list'

const MIX: readonly NamespaceOperation[] = [
  'create',
  'create',
  'overwrite',
  'overwrite',
  'delete',
  'rename',
  'read',
  'read',
  'read',
  'stat',
  'list',
]

/** Errors that are answers: what they say about the namespace is checked. */
const ANSWERS: Record<NamespaceOperation, readonly ErrorCode[]> = {
  create: ['ALREADY_EXISTS'],
  overwrite: [],
  delete: ['NOT_FOUND'],
  rename: ['NOT_FOUND', 'ALREADY_EXISTS'],
  read: ['NOT_FOUND'],
  stat: ['NOT_FOUND'],
  list: ['NOT_FOUND'],
}
/** The peer did not even look at it: it is starting or stopping. */
const NOT_TAKEN: readonly ErrorCode[] = ['UNKNOWN_MESSAGE']
const QUESTIONS: ReadonlySet<string> = new Set<NamespaceOperation>(['read', 'stat', 'list'])
/** After these the peer that one is attached to is of no use. */
const PEER_GONE: ReadonlySet<string> = new Set(['CONNECTION_LOST', 'UNREACHABLE', 'TIMEOUT', 'CANCELLED'])
const OPERATION_TIMEOUT_MS = 20_000
const PAUSE_MS = 20
const ATTACH_TIMEOUT_MS = 10_000
const ATTACH_AGAIN_MS = 200

/**
 * One client of the namespace that does one random thing after another and records what it was told: input for
 * `namespaceModel`. Files are so small that a read gives back the very value that was written. Resolves with the number of
 * operations when its signal aborts.
 */
export async function runNamespaceClient(options: NamespaceClientOptions): Promise<number> {
  const { random, signal, pauseMs = PAUSE_MS } = options
  let attachment: Attachment | undefined
  let done = 0
  try {
    while (!signal.aborted) {
      attachment ??= await attached(options)
      if (attachment === undefined) continue
      const { fs } = attachment
      const code = await once(fs, options, `${options.process}-${done++}`)
      if (code !== undefined && PEER_GONE.has(code)) {
        await attachment.close().catch(() => {})
        attachment = undefined
      }
      // Being told to stop is not a failure.
      await sleep(below(random, pauseMs + 1), { signal }).catch(() => {})
    }
  } finally {
    await attachment?.close().catch(() => {})
  }
  return done
}

async function attached({ attach, signal }: NamespaceClientOptions): Promise<Attachment | undefined> {
  try {
    using deadline = withDeadline('attaching to a peer', ATTACH_TIMEOUT_MS, signal)
    return await attach(deadline)
  } catch {
    await sleep(ATTACH_AGAIN_MS, { signal }).catch(() => {})
    return undefined
  }
}

/** @returns the code of the error it ended with, if any. */
async function once(
  fs: WorkloadFiles,
  options: NamespaceClientOptions,
  content: string,
): Promise<string | undefined> {
  const { process, recorder, random, directory, files, mix = MIX } = options
  const op = pick(random, mix) ?? 'read'
  const file = below(random, files)
  const path = op === 'list' ? directory : `${directory}/f${file}`
  const input = op === 'rename' ? `${directory}/f${file ^ 1}` : writes(op) ? content : null
  const operation = recorder.begin(process, op, path, input)
  using deadline = withDeadline(`${op} ${path}`, options.operationTimeoutMs ?? OPERATION_TIMEOUT_MS)
  try {
    operation.end({ ok: await perform(fs, op, path, input, deadline) })
    return undefined
  } catch (error) {
    const code = error instanceof ShoalError ? error.code : 'INTERNAL'
    const outcome = outcomeOf(op, wasReplaced(error) ? 'BUSY' : code)
    if (outcome === null) operation.unknown()
    else operation.end(outcome)
    return code
  }
}

/** Read on at another peer, where the file was a newer one by then: not an answer about the namespace. */
function wasReplaced(error: unknown): boolean {
  return hasCode(error, 'NOT_FOUND') && error.details.replaced === true
}

function outcomeOf(op: NamespaceOperation, code: ErrorCode): Outcome {
  // Whatever else a change ends with, it may have happened: only a question can just fail.
  return [...ANSWERS[op], ...NOT_TAKEN].includes(code) || QUESTIONS.has(op) ? { error: code } : null
}

function writes(op: NamespaceOperation): boolean {
  return op === 'create' || op === 'overwrite'
}

async function perform(
  fs: WorkloadFiles,
  op: NamespaceOperation,
  path: string,
  input: string | null,
  signal: AbortSignal,
): Promise<NonNullable<Operation['input']> | null> {
  switch (op) {
    case 'create':
    case 'overwrite':
      await fs.put(path, bytesOf(input ?? ''), {
        overwrite: op === 'overwrite',
        parents: true,
        format: 'binary',
        signal,
      })
      return null
    case 'delete':
      await fs.rm(path, { signal })
      return null
    case 'rename':
      await fs.mv(path, input ?? '', { signal })
      return null
    case 'read':
      return await textOf(fs.get(path, { signal }))
    case 'stat':
      return (await fs.stat(path, { signal })).sizeBytes
    case 'list':
      return (await fs.ls(path, { signal })).map(({ name }) => name)
  }
}

async function* bytesOf(text: string): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(text)
}

async function textOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}
