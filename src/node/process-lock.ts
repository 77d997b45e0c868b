import { readFileSync } from 'node:fs'
import { open, readdir, realpath, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { ShoalError } from '../base/index.ts'

/** `lock.<pid>.<start time>`: the name alone tells whose it is. */
const LOCK_NAME = /^lock\.(\d+)\.(\w+)$/
/** Two that start at once both give way; each tries again after a random while, so that one of them gets it. */
const ATTEMPTS_MAX = 5
const RETRY_MS_MAX = 60

/** Directories locked by this process: its own lock file cannot tell it from a second holder. */
const held = new Set<string>()

/**
 * Exclusive use of a directory that ends with the process, however it ends. Each holder makes a file that names its
 * process incarnation, then looks for others: one of a dead process is removed (its name is never used again), one of
 * a living process wins. Both make before they look, so two can never both succeed.
 * Known limit: processes that do not see each other's pids (containers sharing a volume) are not kept apart.
 */
export class ProcessLock implements AsyncDisposable {
  readonly #directory: string
  readonly #path: string

  private constructor(directory: string, path: string) {
    this.#directory = directory
    this.#path = path
  }

  /** @throws DATA_DIR_LOCKED with the pid of the holder; errors of the file system as they are. */
  static async acquire(directory: string): Promise<ProcessLock> {
    const real = await realpath(directory)
    if (held.has(real)) throw locked(directory, process.pid)
    held.add(real)
    try {
      for (let attempt = 1; ; attempt++) {
        const path = join(real, `lock.${process.pid}.${startTimeOf(process.pid) ?? 'unknown'}`)
        // Flag 'w', not 'wx': one that is there already is ours from before a crash, with the same pid.
        await (await open(path, 'w', 0o600)).close()
        const other = await otherHolder(real)
        if (other === undefined) return new ProcessLock(real, path)
        await unlink(path)
        if (attempt === ATTEMPTS_MAX) throw locked(directory, other)
        await wait(Math.random() * RETRY_MS_MAX)
      }
    } catch (error) {
      held.delete(real)
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!held.delete(this.#directory)) return
    await unlink(this.#path).catch(() => undefined)
  }
}

/** One run of a process: a pid alone may be another's by now. */
export interface ProcessRun {
  pid: number
  startTime: string
}

/** The living process that has a directory locked; undefined when there is none. */
export async function lockHolder(directory: string): Promise<ProcessRun | undefined> {
  const names = await readdir(directory).catch(() => [] as string[])
  for (const name of names) {
    const [, pid, startTime] = LOCK_NAME.exec(name) ?? []
    if (pid === undefined || startTime === undefined) continue
    const run = { pid: Number(pid), startTime }
    if (isRunning(run)) return run
  }
  return undefined
}

/** The pid of a living process that holds the directory; removes what dead ones left. */
async function otherHolder(directory: string): Promise<number | undefined> {
  for (const name of await readdir(directory)) {
    const match = LOCK_NAME.exec(name)
    if (match === null) continue
    const pid = Number(match[1])
    if (pid === process.pid && match[2] === (startTimeOf(pid) ?? 'unknown')) continue
    if (isRunning({ pid, startTime: match[2]! })) return pid
    await unlink(join(directory, name)).catch(() => undefined)
  }
  return undefined
}

/** False when it has ended, and when it is only a zombie. */
export function isRunning({ pid, startTime }: ProcessRun): boolean {
  const now = startTimeOf(pid)
  if (now !== undefined) return now === startTime
  if (hasProc) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it lives, under another user.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

const hasProc = startTimeOf(process.pid) !== undefined

/** When the process began, in clock ticks since boot: tells it from a later one with its pid. Undefined when it is gone, a zombie, or there is no /proc. */
function startTimeOf(pid: number): string | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined
  }
  // The second field is the command in parentheses, which may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
}

function locked(directory: string, pid: number): ShoalError {
  return new ShoalError(
    'DATA_DIR_LOCKED',
    { directory, pid },
    `data directory ${directory} is in use by process ${pid}: stop that peer or choose another directory`,
  )
}
