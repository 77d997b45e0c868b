import { colors } from '../../src/cli/terminal.ts'
import { humanBytes, humanMs } from '../../src/cli/units.ts'
import { sleep } from '../../src/base/index.ts'
import type { JobEvent, Mesh } from '../../src/index.ts'
import type { DemoMesh } from './demo-mesh.ts'
import { BOOK, byName } from './files-scene.ts'
import type { Inputs } from './inputs.ts'
import { countWords } from './oracle.ts'
import { totalOf, watch } from './questions.ts'
import { whole, type Screen } from './screen.ts'

/** First as many copies of the book, undisturbed, to learn how fast this machine is … */
const WARM_UP_COPIES = 25
/** … then so many that the job lasts about so long. */
const TARGET_MS = 10_000
const COPIES_MIN = 30
const COPIES_MAX = 600
/** Shares of the tasks that are done when the leader and then another peer are killed. */
const FIRST_KILL_AT = 0.3
const SECOND_KILL_AT = 0.6
const POLL_MS = 20
const TAKE_OVER_TIMEOUT_MS = 20_000

/** Kills the leader and then another peer in the middle of a job, and compares the answer. */
export async function surviveKills(
  screen: Screen,
  parts: { local: DemoMesh; mesh: Mesh; attachedTo: string; inputs: Inputs; signal: AbortSignal },
): Promise<void> {
  const { mesh, inputs, signal } = parts
  const once = countWords(inputs.book.toString())
  screen.say()
  const calmMs = await countCopies(screen, mesh, WARM_UP_COPIES, once, signal)
  const copies = Math.round(
    Math.min(COPIES_MAX, Math.max(COPIES_MIN, (WARM_UP_COPIES * TARGET_MS) / Math.max(1, calmMs))),
  )
  screen.say()
  const job = new WatchedJob(screen, mesh)
  const counting = countCopies(screen, mesh, copies, once, signal, job)
  const [counted, killed] = await Promise.allSettled([counting, killTwo(screen, parts, job)])
  job[Symbol.dispose]()
  if (killed.status === 'rejected') throw killed.reason
  if (counted.status === 'rejected') throw counted.reason
  const [again, tasks] = [job.startedAgain(), job.tasks].map(count => whole.format(count))
  screen.say(`${again} of ${tasks} tasks had to run again: what the two had finished, begun or waiting.`)
  const { files } = await mesh.status({ signal })
  screen.check('of every partition of every file at least one copy lives', files.missing, 0)
  screen.say(
    colors.dim(
      `${files.underReplicated} partitions have fewer than three copies now. Did the two not come back within 30 s, the others\n` +
        'would make new ones.',
    ),
  )
}

/** @returns how long it took. */
async function countCopies(
  screen: Screen,
  mesh: Mesh,
  copies: number,
  once: ReadonlyMap<string, number>,
  signal: AbortSignal,
  job?: WatchedJob,
): Promise<number> {
  const { sizeBytes } = await mesh.fs.stat(BOOK, { signal })
  screen.say(
    `The words of ${copies} copies of the book, ${humanBytes(sizeBytes * copies)}, ${job === undefined ? 'undisturbed' : 'while two peers are killed'}:`,
  )
  const startMs = performance.now()
  job?.begin()
  using _ = job === undefined ? watch(screen, mesh) : undefined
  const counts = await mesh
    .textFile(Array.from({ length: copies }, () => BOOK))
    .flatMap(line => line.toLowerCase().match(/[a-z']+/g) ?? [])
    .map(word => [word, 1])
    .reduceByKey((a, b) => a + b, 8)
    .collectAsMap({ signal, name: `words of ${copies} copies` })
  const tookMs = performance.now() - startMs
  const expected = new Map(Array.from(once, ([word, count]) => [word, count * copies]))
  const claim = `all ${whole.format(counts.size)} counts are ${copies} times those of a plain loop over one book`
  screen.check(claim, counts, expected, tookMs)
  return tookMs
}

async function killTwo(
  screen: Screen,
  {
    local,
    mesh,
    attachedTo,
    signal,
  }: { local: DemoMesh; mesh: Mesh; attachedTo: string; signal: AbortSignal },
  job: WatchedJob,
): Promise<void> {
  await job.reached(FIRST_KILL_AT)
  const before = await mesh.status({ signal })
  const leader = nameOf(before.leader, before.members)
  const pid = await local.kill(leader, signal)
  const killedMs = performance.now()
  job.tell(`SIGKILL for ${leader} (process ${pid}), the leader: it planned this job and ran tasks of it`)

  const after = await nextLeader(mesh, before.leader, signal)
  const next = nameOf(after.leader, after.members)
  const tookMs = performance.now() - killedMs
  job.tell(
    `${colors.green(next)} leads now (term ${after.term}), ${humanMs(tookMs)} later; it asks the others what they have`,
  )

  await job.reached(SECOND_KILL_AT)
  const others = byName(after.members).filter(({ name }) => ![leader, next, attachedTo].includes(name))
  const victim = others[0]!.name
  const otherPid = await local.kill(victim, signal)
  job.tell(`SIGKILL for ${victim} (process ${otherPid}): its tasks go to the three that are left`)
}

async function nextLeader(
  mesh: Mesh,
  former: string | undefined,
  signal: AbortSignal,
): Promise<Awaited<ReturnType<Mesh['status']>>> {
  const untilMs = performance.now() + TAKE_OVER_TIMEOUT_MS
  for (;;) {
    const status = await mesh.status({ signal })
    if (status.leader !== undefined && status.leader !== former) return status
    if (performance.now() > untilMs) throw new Error(`no new leader within ${humanMs(TAKE_OVER_TIMEOUT_MS)}`)
    await sleep(POLL_MS, { signal })
  }
}

function nameOf(peerId: string | undefined, members: { peerId: string; name: string }[]): string {
  const member = members.find(each => each.peerId === peerId)
  if (member === undefined) throw new Error(`the leader ${peerId ?? '(none)'} is no member`)
  return member.name
}

type Progress = Extract<JobEvent, { type: 'progress' }>['progress']

/** One job under way: how far it is, over changes of the leader. */
class WatchedJob implements Disposable {
  readonly #screen: Screen
  readonly #subscription: Disposable
  #startMs = 0
  #progress: Progress | undefined
  /** Attempts started by leaders of the past. */
  #startedEarlier = 0
  #waiting: { share: number; resolve: () => void; reject: (error: Error) => void } | undefined

  constructor(screen: Screen, mesh: Mesh) {
    this.#screen = screen
    this.#subscription = mesh.onJobEvent(event => this.#onEvent(event))
  }

  begin(): void {
    this.#startMs = performance.now()
  }

  get tasks(): number {
    return this.#progress === undefined ? 0 : totalOf(this.#progress.stages).tasks
  }

  /** Attempts beyond the first of each task, by all leaders. */
  startedAgain(): number {
    return Math.max(0, this.#startedEarlier + (this.#progress?.started ?? 0) - this.tasks)
  }

  tell(text: string): void {
    this.#screen.say(`${colors.dim(this.#clock())}  ${this.#share()}  ${text}`)
  }

  /** Resolves when this share of the tasks is done. Rejects when the job ends before. */
  async reached(share: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting = { share, resolve, reject }
    await promise
  }

  #onEvent(event: JobEvent): void {
    if (event.type === 'leader-changed') {
      this.#startedEarlier += this.#progress?.started ?? 0
      this.#progress = undefined
    }
    if (event.type === 'settled') {
      const message = event.error?.message ?? 'the job was over before the peers could be killed'
      this.#waiting?.reject(new Error(message))
    }
    if (event.type !== 'progress') return
    this.#progress = event.progress
    const { done, tasks } = totalOf(event.progress.stages)
    this.#screen.progress(`${this.#clock()}  ${this.#share()}  ${done} of ${tasks} tasks done …`)
    if (this.#waiting !== undefined && done >= tasks * this.#waiting.share) {
      this.#waiting.resolve()
      this.#waiting = undefined
    }
  }

  #clock(): string {
    return `${((performance.now() - this.#startMs) / 1000).toFixed(1).padStart(5)} s`
  }

  #share(): string {
    if (this.#progress === undefined) return '    '
    const { done, tasks } = totalOf(this.#progress.stages)
    return `${Math.floor((100 * done) / tasks)} %`.padStart(4)
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]()
  }
}
