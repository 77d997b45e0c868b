import { join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { availableParallelism } from 'node:os'
import { seededRandom, ShoalError, sleep } from '../../base/index.ts'
import {
  checkLinearizable,
  describeCheck,
  describeOperation,
  HistoryRecorder,
  lostFiles,
  NamespaceLoad,
  namespaceModel,
  wrongReads,
} from '../../chaos/index.ts'
import { attach, MESH_DIRECTORY, MeshDirectory, type Mesh, type PeerStatus } from '../../node/index.ts'
import type { HarmName } from '../commands/chaos.ts'
import { EXIT_FAILED } from '../error-report.ts'
import { interruptible, Interrupted } from '../interrupt.ts'
import { runningPeers, type RunningPeer } from '../local-peers.ts'
import type { Settings } from '../settings.ts'
import { colors, note, print, printJson } from '../terminal.ts'
import { counted, humanMs } from '../units.ts'
import { drawHarm, harm, startAgain, type HarmParts } from './harms.ts'

export interface ChaosOptions {
  actions: HarmName[]
  rounds: number
  clients: number
  seed?: number
  history?: string
  dir?: string
  yes?: boolean
}

/** After each harm, until all peers are up, agree on a leader and have their voters. */
const HEAL_TIMEOUT_MS = 60_000
const POLL_MS = 100
const ATTACH_TIMEOUT_MS = 4_000
/** Between harms, so that there is something to harm. */
const WORK_MS = 1_000
const SHOWN_MAX = 5

/** Does harm and gives the verdict; sets the exit code to 1 when a promise was broken. Only ever touches local peers. */
export async function runChaos(options: ChaosOptions, settings: Settings): Promise<void> {
  const directory = options.dir === undefined ? MeshDirectory.find() : inside(options.dir)
  const peers = directory === undefined ? [] : await runningPeers(directory)
  if (settings.peer !== undefined) throw notLocal()
  if (directory === undefined || peers.length === 0) {
    throw new ShoalError(
      'NOT_A_MESH',
      { directory: directory?.path ?? process.cwd() },
      'no local mesh runs here: `shoal up --peers 5 --allow-chaos` starts one',
    )
  }
  if (options.yes !== true) await confirm(directory, peers)
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31)
  note(
    `seed ${seed}: ${counted(options.rounds, 'round')} of ${options.actions.join(', ')} on ${counted(peers.length, 'peer')}`,
  )
  const names = peers.map(({ name }) => name)
  const verdict = await interruptible(signal => play({ directory, names, seed, options, signal }))
  if (settings.json) printJson(verdict)
  else report(verdict)
  if (!verdict.kept) process.exitCode = EXIT_FAILED
}

interface Play {
  directory: MeshDirectory
  names: readonly string[]
  seed: number
  options: ChaosOptions
  signal: AbortSignal
}

interface Verdict {
  kept: boolean
  seed: number
  rounds: number
  operations: number
  acknowledged: number
  /** Paths. */
  lost: string[]
  wrongBytes: number
  linearizable: 'linearizable' | 'violated' | 'undecided'
  /** Longest time from the end of a harm until the mesh agreed again. */
  healMsMax: number
  /** What went wrong, for people. */
  problems: string[]
}

async function play({ directory, names, seed, options, signal }: Play): Promise<Verdict> {
  const random = seededRandom(seed)
  using recorder = new HistoryRecorder(options.history === undefined ? {} : { file: options.history })
  const base = `/chaos/${new Date().toISOString().replaceAll(/\D/g, '').slice(0, 17)}`
  const way = (client: number) => inTurn(directory, client)
  const shared = { recorder, random, attach: way }
  const loads = [
    new NamespaceLoad({ ...shared, directory: `${base}/shared`, clients: options.clients }),
    // Nobody ever removes these: each must be there in the end.
    new NamespaceLoad({
      ...shared,
      prefix: 'k',
      directory: `${base}/kept`,
      clients: Math.ceil(options.clients / 2),
      files: 2 ** 31,
      mix: ['create', 'create', 'read'],
      pauseMs: 100,
    }),
  ]
  const { workers, allowChaos } = await howPeersRun(directory, names, signal)
  const problems: string[] = []
  let rounds = 0
  let healMsMax = 0
  try {
    for (let round = 1; round <= options.rounds; round++) {
      await sleep(WORK_MS, { signal })
      const parts: HarmParts = {
        directory,
        random,
        recorder,
        path: `${base}/corrupted`,
        round,
        workers,
        allowChaos,
        attach: (peer, abort) => attachTo(directory, peer, abort),
        signal,
      }
      const done = await harm(drawHarm(random, options.actions), parts)
      const startMs = performance.now()
      await agreement(directory, names, signal)
      const healMs = performance.now() - startMs
      healMsMax = Math.max(healMsMax, healMs)
      rounds = round
      note(`${round}  ${done}; all agree again ${humanMs(healMs)} later`)
    }
  } catch (error) {
    if (error instanceof ShoalError && error.code === 'CONFIG_INVALID') throw error
    // Ctrl-C ends the harm early; what was done until then is judged all the same.
    if (!(error instanceof Interrupted)) problems.push(`round ${rounds + 1}: ${String(error)}`)
  } finally {
    await mend(directory, names, { workers, allowChaos })
    note('waiting for the clients …')
    await Promise.all(loads.map(load => load.stop()))
  }
  await using mesh = await attachTo(directory, undefined, new AbortController().signal)
  for (const load of loads) {
    await load
      .audit(mesh.fs)
      .catch((error: unknown) => problems.push(`what is there could not be read: ${String(error)}`))
  }
  const history = recorder.operations()
  const lost = lostFiles(history)
  const wrong = wrongReads(history)
  const check = checkLinearizable(namespaceModel, history)
  if (check.verdict !== 'linearizable') problems.push(describeCheck(check))
  problems.push(...wrong.slice(0, SHOWN_MAX).map(read => `never written: ${describeOperation(read)}`))
  problems.push(...lost.slice(0, SHOWN_MAX).map(path => `acknowledged and lost: ${path}`))
  return {
    kept: problems.length === 0,
    seed,
    rounds,
    operations: history.length,
    acknowledged: loads.reduce((sum, load) => sum + load.acknowledged(), 0),
    lost,
    wrongBytes: wrong.length,
    linearizable: check.verdict,
    healMsMax: Math.round(healMsMax),
    problems,
  }
}

function report(verdict: Verdict): void {
  const { kept, seed, rounds, operations, acknowledged, lost, wrongBytes, linearizable, healMsMax } = verdict
  for (const problem of verdict.problems) print(problem)
  const word = kept ? colors.green('kept its promises') : colors.red('BROKE A PROMISE')
  print(
    `The mesh ${word}: ${counted(rounds, 'round')}, ${operations} operations, ${acknowledged} changes acknowledged; ` +
      `${lost.length} lost, ${wrongBytes} reads of wrong bytes, ${linearizable}; ` +
      `agreed again within ${humanMs(healMsMax)} (seed ${seed})`,
  )
}

function inside(dir: string): MeshDirectory {
  return new MeshDirectory(join(dir, MESH_DIRECTORY))
}

function notLocal(): ShoalError {
  const reason = 'it does harm to the processes of the local mesh only'
  return new ShoalError(
    'CONFIG_INVALID',
    { option: '--peer', reason },
    `shoal chaos takes no --peer: ${reason}`,
  )
}

/** @throws CANCELLED when the answer is not yes, CONFIG_INVALID when there is nobody to ask. */
async function confirm(directory: MeshDirectory, peers: readonly RunningPeer[]): Promise<void> {
  if (process.stdin.isTTY !== true) {
    const reason = 'there is nobody to ask'
    throw new ShoalError(
      'CONFIG_INVALID',
      { option: '--yes', reason },
      `shoal chaos does harm to the mesh in ${directory.path} and asks before: ${reason}, so say --yes`,
    )
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const names = peers.map(({ name }) => name).join(', ')
    const answer = await prompt.question(
      `This does harm to ${names} in ${directory.path}, and leaves files in /chaos. Go on? [y/N] `,
    )
    if (!/^y(es)?$/i.test(answer.trim())) {
      throw new ShoalError('CANCELLED', { what: 'shoal chaos' }, 'nothing was done')
    }
  } finally {
    prompt.close()
  }
}

async function attachTo(
  directory: MeshDirectory,
  peer: RunningPeer | undefined,
  signal: AbortSignal,
): Promise<Mesh> {
  const serving = await directory.peers()
  const chosen = peer === undefined ? serving : serving.filter(({ name }) => name === peer.name)
  return await attach({
    peers: chosen.flatMap(({ addresses }) => addresses),
    meshKey: await directory.meshKey(),
    name: 'shoal chaos',
    timeoutMs: ATTACH_TIMEOUT_MS,
    signal,
  })
}

/** One peer after another, whichever serve at the time. */
function inTurn(directory: MeshDirectory, client: number): (signal: AbortSignal) => Promise<Mesh> {
  let turn = client
  return async signal => {
    const serving = await directory.peers()
    return await attach({
      peers: serving[turn++ % Math.max(1, serving.length)]?.addresses ?? [],
      meshKey: await directory.meshKey(),
      name: 'shoal chaos',
      timeoutMs: ATTACH_TIMEOUT_MS,
      signal,
    })
  }
}

/** Peers that are started again run as they did before. */
async function howPeersRun(
  directory: MeshDirectory,
  names: readonly string[],
  signal: AbortSignal,
): Promise<{ workers: number; allowChaos: boolean }> {
  await using mesh = await attachTo(directory, undefined, signal)
  const { workers } = await mesh.status({ signal })
  const shares = Math.max(1, Math.floor(availableParallelism() / names.length))
  // An order that does nothing tells whether orders are obeyed.
  const allowChaos = await mesh.cutOff([], 0, { signal }).then(
    () => true,
    () => false,
  )
  return { workers: workers ?? shares, allowChaos }
}

async function agreement(
  directory: MeshDirectory,
  names: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const untilMs = performance.now() + HEAL_TIMEOUT_MS
  let reason = ''
  while (performance.now() < untilMs) {
    try {
      await using mesh = await attachTo(directory, undefined, signal)
      const lacking = whatLacks(await mesh.status({ signal }), names)
      if (lacking === undefined) return
      reason = lacking
    } catch (error) {
      signal.throwIfAborted()
      reason = String(error)
    }
    await sleep(POLL_MS, { signal })
  }
  throw new ShoalError(
    'TIMEOUT',
    { what: 'the mesh to agree', timeoutMs: HEAL_TIMEOUT_MS },
    `the mesh did not agree again within ${humanMs(HEAL_TIMEOUT_MS)}: ${reason}`,
  )
}

function whatLacks(status: PeerStatus, names: readonly string[]): string | undefined {
  if (status.leader === undefined) return 'no leader'
  if (status.voters.length < status.votersTarget) return 'voters are missing'
  const up = status.members.filter(({ state, liveness }) => state === 'up' && liveness === 'alive')
  const away = names.filter(name => !up.some(member => member.name === name))
  return away.length > 0 ? `${away.join(', ')} away` : undefined
}

/** Nobody is left standing still or dead, however it ended. */
async function mend(
  directory: MeshDirectory,
  names: readonly string[],
  how: { workers: number; allowChaos: boolean },
): Promise<void> {
  for (const { pid } of await runningPeers(directory)) process.kill(pid, 'SIGCONT')
  const running = new Set((await runningPeers(directory)).map(({ name }) => name))
  for (const name of names) if (!running.has(name)) await startAgain({ directory, ...how }, name)
}
