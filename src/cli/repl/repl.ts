import { once } from 'node:events'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import repl, { type REPLServer } from 'node:repl'
import { hasCode, ShoalError } from '../../base/errors.ts'
import { connect, type Mesh } from '../../node/index.ts'
import { RDD } from '../../rdd/index.ts'
import { describeError, EXIT_FAILED } from '../error-report.ts'
import { Interrupted } from '../interrupt.ts'
import { JobBar } from '../job/job-bar.ts'
import { RunningJobs } from '../job/running-jobs.ts'
import { SkewNotes } from '../job/skew-notes.ts'
import type { Settings } from '../settings.ts'
import { colors, note, print, shown } from '../terminal.ts'
import { counted } from '../units.ts'
import { complete, type Completions } from './completion.ts'
import { Evaluator, INTERRUPTED, prepare, type Prepared } from './evaluator.ts'
import { OPERATOR_COMMANDS } from './operator-commands.ts'
import { IncompleteSnippet } from './snippet.ts'

type Done = (error: Error | null, value?: unknown) => void

interface Key {
  name?: string
  ctrl?: boolean
}

const MESH_HELP = `the mesh: make datasets with mesh.textFile(path), mesh.parallelize(data) or mesh.range(end);
files are at mesh.fs (ls, put, get, head, fsck, …); ask with mesh.jobs() and mesh.report(),
or type .status, .report, .fsck, .jobs or .job`

const UNFINISHED = 'the input ends in the middle of a statement'

/** `shoal repl`: until Ctrl-D, `.exit`, or the end of a piped input. */
export async function runRepl(settings: Settings): Promise<void> {
  const { peer, key } = settings
  const mesh = await connect({
    ...(peer === undefined ? {} : { peer }),
    ...(key === undefined ? {} : { keyFile: key }),
    name: 'shoal repl',
  })
  try {
    await new Session(mesh, settings).run()
  } finally {
    await mesh.close()
  }
}

class Session {
  readonly #mesh: Mesh
  readonly #settings: Settings
  readonly #isInteractive = process.stdin.isTTY === true && process.stdout.isTTY === true
  readonly #bar = new JobBar()
  readonly #skew = new SkewNotes()
  readonly #jobs: RunningJobs
  readonly #evaluator = new Evaluator(process.stdin)
  #snippets = 0
  #isAnswering = false
  #asking: AbortController | undefined
  #isCancelling = false
  #onIdle: () => void = () => {}
  #hasFailed = false

  constructor(mesh: Mesh, settings: Settings) {
    this.#mesh = mesh
    this.#settings = settings
    this.#jobs = new RunningJobs(mesh, event => {
      this.#bar.onEvent(event)
      this.#skew.onEvent(event)
    })
  }

  async run(): Promise<void> {
    Object.assign(globalThis, { mesh: this.#mesh })
    if (this.#isInteractive) await this.#converse()
    else await this.#readScript()
    if (this.#jobs.count > 0) await this.#jobs.cancelAll('the REPL was closed')
    this.#bar[Symbol.dispose]()
  }

  async #converse(): Promise<void> {
    await this.#greet()
    const server = repl.start({
      prompt: 'shoal> ',
      useGlobal: true,
      ignoreUndefined: true,
      writer: shown,
      eval: (source, _context, _file, done) => this.#answer(source, done),
      completer: (line: string, done: (error: Error | null, found: Completions) => void) => {
        void this.#complete(line, done)
      },
    })
    this.#addOperatorCommands(server)
    explainDots(server)
    this.#holdKeys(server)
    this.#takeOverInterrupts(server)
    this.#catchStrays(() => server.displayPrompt(true))
    await keepHistory(server)
    await once(server, 'exit')
  }

  /** `.status` and the like; Ctrl-C gives one up. */
  #addOperatorCommands(server: REPLServer): void {
    for (const [name, { help, run }] of Object.entries(OPERATOR_COMMANDS)) {
      const show = async (argument: string): Promise<void> => {
        this.#isAnswering = true
        this.#asking = new AbortController()
        try {
          note(await run(this.#mesh, argument.trim(), this.#asking.signal))
        } catch (error) {
          if (this.#asking.signal.aborted) note('interrupted')
          else this.#report(error)
        }
        this.#asking = undefined
        this.#isAnswering = false
        server.displayPrompt()
        this.#onIdle()
      }
      server.defineCommand(name, { help, action: argument => void show(argument) })
    }
  }

  /** Input that is no terminal's: run to its end, silently but for results. Errors do not end it, but count. */
  async #readScript(): Promise<void> {
    this.#catchStrays(() => {})
    process.on('SIGINT', () => this.#interrupt())
    let source = ''
    for await (const line of createInterface({ input: process.stdin })) {
      source += `${line}\n`
      const prepared = this.#prepare(source)
      if (prepared === 'incomplete') continue
      source = ''
      const value = prepared === undefined ? undefined : await this.#evaluate(prepared)
      if (value !== undefined) print(shown(value))
    }
    if (source.trim() !== '')
      this.#report(new ShoalError('SYNTAX_ERROR', { file: 'input', reason: UNFINISHED }, UNFINISHED))
    if (this.#hasFailed) process.exitCode = EXIT_FAILED
  }

  /**
   * Keys that are pressed or pasted while something runs wait for their turn, as in Node's own REPL: else lines would run
   * at the same time, and be drawn over the progress bar.
   */
  #holdKeys(server: REPLServer): void {
    const usual: unknown = Reflect.get(server, '_ttyWrite')
    if (typeof usual !== 'function') return
    const waiting: [text: unknown, key: Key | undefined][] = []
    this.#onIdle = () => {
      while (waiting.length > 0 && !this.#isAnswering) Reflect.apply(usual, server, waiting.shift()!)
    }
    const hold = (text: unknown, key?: Key): void => {
      if (this.#isAnswering && !(key?.ctrl === true && key.name === 'c')) waiting.push([text, key])
      else Reflect.apply(usual, server, [text, key])
    }
    Reflect.set(server, '_ttyWrite', hold)
  }

  async #complete(line: string, done: (error: Error | null, found: Completions) => void): Promise<void> {
    done(null, await complete(line, this.#mesh))
  }

  async #greet(): Promise<void> {
    const { name, leader, members, version } = await this.#mesh.status()
    const up = members.filter(({ state }) => state === 'up').length
    const leading = members.find(({ peerId }) => peerId === leader)?.name
    const who = leading === undefined ? 'no leader: jobs wait' : `${leading} leads`
    const { bold, dim, cyan } = colors
    note(`${bold(`shoal ${version}`)}, attached to ${bold(name)} of ${counted(up, 'peer')} (${who})`)
    note(dim(`try ${cyan('await mesh.range(100).filter(x => x % 7 === 0).collect()')}`))
    note(dim('Ctrl-C cancels a job, Ctrl-D leaves, Tab completes, .editor takes several lines'))
  }

  #answer(source: string, done: Done): void {
    const prepared = source.trim() === '' ? undefined : this.#prepare(source)
    // At once: node:repl opens the next line before anything else happens.
    if (prepared === 'incomplete') done(new repl.Recoverable(new SyntaxError(prepared)))
    else if (prepared === undefined) done(null)
    else void this.#carryOut(prepared, done)
  }

  async #carryOut(prepared: Prepared, done: Done): Promise<void> {
    this.#isAnswering = true
    const value = await this.#evaluate(prepared)
    this.#isAnswering = false
    done(null, value)
    this.#onIdle()
  }

  /** Never throws: what is wrong is reported, and then there is nothing to run. */
  #prepare(source: string): Prepared | 'incomplete' | undefined {
    try {
      const prepared = prepare(source, `REPL${this.#snippets + 1}`)
      this.#snippets++
      return prepared
    } catch (error) {
      if (error instanceof IncompleteSnippet) return 'incomplete'
      this.#report(error)
      return undefined
    }
  }

  /** Never throws either. @returns undefined when there is nothing more to show */
  async #evaluate(prepared: Prepared): Promise<unknown> {
    try {
      const value = await this.#evaluator.run(prepared)
      if (value === INTERRUPTED) note('interrupted')
      else if (value instanceof RDD) note(await describeRdd(value))
      else if (value === this.#mesh) note(MESH_HELP)
      else return value
    } catch (error) {
      this.#report(error)
    }
    return undefined
  }

  #report(error: unknown): void {
    this.#hasFailed = true
    this.#bar[Symbol.dispose]()
    if (hasCode(error, 'JOB_CANCELLED') && this.#isInteractive) note(`interrupted: ${error.message}`)
    else note(describeError(error, this.#settings))
  }

  /** With nothing running, Ctrl-C clears the line as usual. */
  #takeOverInterrupts(server: REPLServer): void {
    const usual = server.listeners('SIGINT')
    server.removeAllListeners('SIGINT')
    const onInterrupt = (): void => {
      if (this.#asking !== undefined) this.#asking.abort(new Interrupted())
      else if (this.#evaluator.isBusy) this.#interrupt()
      else for (const listener of usual) Reflect.apply(listener, server, [])
    }
    server.on('SIGINT', onInterrupt)
    // By `kill`, or in the moment that the terminal is not in raw mode.
    process.on('SIGINT', onInterrupt)
  }

  /** The first time, jobs that run are cancelled and may say so; the second time nobody waits for them. */
  #interrupt(): void {
    const atOnce = this.#isCancelling || this.#jobs.count === 0
    this.#evaluator.interrupt({ atOnce })
    if (!atOnce) void this.#cancelJobs()
  }

  async #cancelJobs(): Promise<void> {
    this.#isCancelling = true
    const trouble = await this.#jobs.cancelAll('interrupted at the terminal')
    this.#isCancelling = false
    if (trouble !== undefined) note(`the leader could not be told: ${trouble}`)
  }

  /** Errors of promises that nobody awaits must not end the session. */
  #catchStrays(after: () => void): void {
    const report = (error: unknown): void => {
      note('')
      this.#report(error)
      after()
    }
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', report)
    process.on('unhandledRejection', report)
  }
}

/** Chains are often written with the dot first, but such a line comes too late: the one before has run already. */
function explainDots(server: REPLServer): void {
  const action = (): void => {
    note('the line before has run already: end it with the dot, or type .editor before you paste')
    server.displayPrompt()
  }
  const commands = new Proxy(server.commands, {
    get: (known, name) => Reflect.get(known, name) ?? (/^\w+\(/.test(String(name)) ? { action } : undefined),
  })
  Reflect.set(server, 'commands', commands)
}

/** An RDD computes nothing until asked: show what it would do, and how to ask. */
async function describeRdd(rdd: RDD<unknown>): Promise<string> {
  const { dim, cyan } = colors
  const ask = `nothing has run: call an action, such as ${cyan('.take(5)')}, ${cyan('.count()')} or ${cyan('.collect()')}`
  try {
    return `${await rdd.toDebugString()}\n${dim(ask)}`
  } catch (error) {
    return `${describeError(error)}\n${dim(ask)}`
  }
}

/** In ~/.shoal_history, or where SHOAL_HISTORY says; a REPL without one is still a REPL. */
async function keepHistory(server: REPLServer): Promise<void> {
  const filePath = process.env['SHOAL_HISTORY'] ?? join(homedir(), '.shoal_history')
  const { promise, resolve } = Promise.withResolvers<Error | null>()
  server.setupHistory({ filePath, onHistoryFileLoaded: error => resolve(error) })
  const error = await promise
  if (error !== null) note(`the history is not kept: ${error.message}`)
}
