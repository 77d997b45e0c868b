import { setTimeout as wait } from 'node:timers/promises'
import { attach, type LocalPeer, type Mesh } from '../../src/node/index.ts'
import { BenchMesh } from './bench-mesh.ts'
import { median, ms, quantile, timeMs, type Figures } from './figures.ts'

const PEERS = 5
const KILLS = 20
/** A job of tasks that wait instead of computing, so that one peer less makes the same difference on any machine. */
const TASKS = 40
const TASK_MS = 100
/** A mesh that needs longer than this is broken, not slow. */
const AGREE_TIMEOUT_MS = 60_000

/** Kills the leader with SIGKILL in the middle of a job: how long until another commits a write, and what the job loses. */
export async function failover(figures: Figures): Promise<void> {
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const serving: number[] = []
  const undisturbed: number[] = []
  const disturbed: number[] = []
  for (let kill = 0; kill < KILLS; kill++) {
    const peers = await bench.localPeers()
    const leader = await leaderOf(bench, peers)
    const others = peers.filter(peer => peer !== leader)
    const mesh = await attach({
      peers: others[kill % others.length]!.addresses,
      meshKey: await bench.meshKey(),
    })
    // The workers start with the first job of their peer.
    await job(mesh)
    undisturbed.push(await timeMs(() => job(mesh)))
    const half = halfDone(mesh)
    const startMs = performance.now()
    const answer = job(mesh)
    await half
    process.kill(leader.pid, 'SIGKILL')
    serving.push(await timeMs(() => mesh.fs.mkdir(`/kill-${kill}`)))
    await answer
    disturbed.push(performance.now() - startMs)
    await mesh.close()
    await bench.revive()
  }
  figures.add({
    name: `leader killed → another has committed a write (${KILLS} kills)`,
    value: `p50 ${ms(median(serving))}, p95 ${ms(quantile(serving, 0.95))}, max ${ms(Math.max(...serving))}`,
    score: quantile(serving, 0.95) / 1_000,
    target: { atMost: 5 },
  })
  figures.add({
    name: 'what the job that was running then lost',
    value: `p50 ${ms(median(disturbed) - median(undisturbed))}, max ${ms(Math.max(...disturbed) - median(undisturbed))}`,
    against: `${ms(median(undisturbed))} undisturbed`,
  })
}

async function job(mesh: Mesh): Promise<void> {
  const sum = await mesh
    .range(0, TASKS, 1, TASKS)
    .map(number => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TASK_MS)
      return number
    })
    .sum()
  if (sum !== (TASKS * (TASKS - 1)) / 2) throw new Error(`the job answered ${sum}`)
}

/** Resolves when the next job has done half of its tasks. */
async function halfDone(mesh: Mesh): Promise<void> {
  const half = Promise.withResolvers<void>()
  using _ = mesh.onJobEvent(event => {
    if (event.type === 'progress' && event.progress.stages.some(stage => stage.done >= TASKS / 2))
      half.resolve()
  })
  await half.promise
}

/** The peer that all peers take for the leader, with as many voters as the mesh wants. */
export async function leaderOf(bench: BenchMesh, peers: readonly LocalPeer[]): Promise<LocalPeer> {
  const meshKey = await bench.meshKey()
  const mesh = await attach({ peers: peers.flatMap(({ addresses }) => addresses), meshKey })
  try {
    for (const untilMs = performance.now() + AGREE_TIMEOUT_MS; performance.now() < untilMs; await wait(100)) {
      const { members } = await mesh.status()
      const statuses = await Promise.all(members.map(({ peerId }) => mesh.statusOf(peerId))).catch(() => [])
      const [first] = statuses
      if (first?.leader === undefined || statuses.length < peers.length) continue
      const { leader } = first
      const agreed = statuses.every(
        status => status.leader === leader && status.voters.length >= status.votersTarget,
      )
      const found = peers.find(peer => peer.addresses.some(address => address.endsWith(leader)))
      if (agreed && found !== undefined) return found
    }
    throw new Error(`the peers did not agree on a leader within ${AGREE_TIMEOUT_MS} ms`)
  } finally {
    await mesh.close()
  }
}
