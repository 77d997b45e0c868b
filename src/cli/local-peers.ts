import { spawn } from 'node:child_process'
import { mkdir, open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { sleep } from '../base/deadline.ts'
import { fromWire, ShoalError, type WireError } from '../base/errors.ts'
import { isRunning, lockHolder, type LocalPeer, type MeshDirectory, type ProcessRun } from '../node/index.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/shoal.js', import.meta.url))
/** Between looks at what other processes do. */
const POLL_MS = 25
/** Until a peer's process serves: it loads, opens its disk, joins. */
const START_TIMEOUT_MS = 30_000
/** After SIGTERM; a peer gives itself 8 s. */
const STOP_TIMEOUT_MS = 12_000
/** Of a failed peer's log, for the user. */
const LOG_TAIL_LINES = 8

export interface RunningPeer extends ProcessRun {
  name: string
}

export interface StartOptions {
  name: string
  workers: number
  /** Bytes it may take. @default as the machine has */
  memory?: number
  /** Bytes of cached partitions. @default as PeerOptions */
  cacheMemory?: number
  cacheDisk?: number
  /** Folder to find packages from. @default the one that holds `.shoal` */
  packages?: string
  /** It obeys `shoal chaos`. @default false */
  allowChaos?: boolean
  join: readonly string[]
  signal: AbortSignal
}

/**
 * Starts a peer of the local mesh as a process of its own, and waits until it serves. It outlives this process. Its
 * host label is its name, so that copies are spread over local peers as they would be over machines.
 * @throws the peer's own error when it ends instead, with the end of its log.
 */
export async function startPeer(directory: MeshDirectory, options: StartOptions): Promise<LocalPeer> {
  const { name, workers, join, signal } = options
  const logFile = directory.logFile(name)
  await mkdir(dirname(logFile), { recursive: true, mode: 0o700 })
  const log = await open(logFile, 'a', 0o600)
  const { size: logStart } = await log.stat()
  const args = ['peer', '--data', directory.dataDirectory(name), '--name', name, '--host', name, '--json']
  args.push('--workers', String(workers), '--log', logFile, ...join.flatMap(address => ['--join', address]))
  if (options.memory !== undefined) args.push('--memory', String(options.memory))
  if (options.cacheMemory !== undefined) args.push('--cache-memory', String(options.cacheMemory))
  if (options.cacheDisk !== undefined) args.push('--cache-disk', String(options.cacheDisk))
  if (options.packages !== undefined) args.push('--packages', options.packages)
  if (options.allowChaos === true) args.push('--allow-chaos')
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd: dirname(directory.path),
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
  })
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => {})
  child.on('error', error => failed.reject(error))
  child.on('exit', (code, killedBy) => {
    void failureOf(name, logFile, logStart, killedBy ?? `exit code ${code}`).then(
      failed.reject,
      failed.reject,
    )
  })
  await log.close()
  try {
    const serves = untilRegistered(directory, name, child.pid, signal)
    return await Promise.race([serves, failed.promise])
  } catch (error) {
    child.kill('SIGTERM')
    throw error
  } finally {
    child.removeAllListeners('exit')
    child.unref()
  }
}

async function untilRegistered(
  directory: MeshDirectory,
  name: string,
  pid: number | undefined,
  signal: AbortSignal,
): Promise<LocalPeer> {
  const untilMs = performance.now() + START_TIMEOUT_MS
  for (;;) {
    const found = (await directory.peers()).find(peer => peer.name === name && peer.pid === pid)
    if (found !== undefined) return found
    if (performance.now() > untilMs) {
      throw new ShoalError(
        'TIMEOUT',
        { what: `the start of ${name}`, timeoutMs: START_TIMEOUT_MS },
        `peer ${name} does not serve after ${START_TIMEOUT_MS / 1000} s; see its log, ${directory.logFile(name)}`,
      )
    }
    await sleep(POLL_MS, { signal })
  }
}

/** The peer's own error when its log holds one, with the last lines of the log. */
async function failureOf(name: string, logFile: string, logStart: number, how: string): Promise<ShoalError> {
  const text = (await readFile(logFile)).subarray(logStart).toString()
  const lines = text.split('\n').filter(line => line !== '')
  const error = lines.map(wireErrorIn).findLast(found => found !== undefined)
  const tail = lines
    .filter(line => wireErrorIn(line) === undefined)
    .slice(-LOG_TAIL_LINES)
    .map(line => `  ${logLine(line)}`)
    .join('\n')
  const end = tail === '' ? '' : `\nthe end of its log (${logFile}):\n${tail}`
  if (error === undefined) {
    const reason = `peer ${name} ended at its start (${how})`
    return new ShoalError('INTERNAL', { reason: '' }, `${reason}${end}`)
  }
  const { code, details } = fromWire(error)
  return new ShoalError(code, details, `peer ${name} did not start: ${error.message}${end}`)
}

function wireErrorIn(line: string): WireError | undefined {
  const { error } = parsed(line)
  const known = typeof error === 'object' && error !== null && 'code' in error && 'message' in error
  return known && !line.includes('"level"') ? (error as WireError) : undefined
}

/** A line of pino's log, for people. */
function logLine(line: string): string {
  const { time, msg, level } = parsed(line)
  if (typeof time !== 'number' || typeof msg !== 'string') return line
  return `${new Date(time).toISOString().slice(11, 19)} ${Number(level) >= 40 ? 'warning: ' : ''}${msg}`
}

function parsed(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

/** Peers of the local mesh whose process lives, whether they serve yet or not. */
export async function runningPeers(directory: MeshDirectory): Promise<RunningPeer[]> {
  const found: RunningPeer[] = []
  for (const name of await directory.names()) {
    const run = await lockHolder(directory.dataDirectory(name))
    if (run !== undefined) found.push({ name, ...run })
  }
  return found
}

/**
 * Asks peers to stop and waits for it; one that does not stop in time is killed, which costs it nothing but a
 * slower next start. @returns the names of those that had to be killed.
 */
export async function stopPeers(
  directory: MeshDirectory,
  peers: readonly RunningPeer[],
  options: { wait: boolean; onStopped?: (left: number) => void },
): Promise<string[]> {
  for (const { pid } of peers) kill(pid, 'SIGTERM')
  if (!options.wait) return []
  const untilMs = performance.now() + STOP_TIMEOUT_MS
  const killed: string[] = []
  for (let left = [...peers]; left.length > 0;) {
    left = left.filter(isRunning)
    options.onStopped?.(left.length)
    if (left.length === 0) break
    if (performance.now() > untilMs && killed.length === 0) {
      for (const { name, pid } of left) {
        kill(pid, 'SIGKILL')
        killed.push(name)
      }
    }
    await sleep(POLL_MS)
  }
  // Those that were killed, now or earlier, could not do it themselves.
  for (const { name } of peers) await directory.unregister(name)
  return killed
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // Gone already.
  }
}
