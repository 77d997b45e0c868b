import { sleep } from '../../src/base/index.ts'
import { BenchMesh, cpuSeconds, residentBytes } from './bench-mesh.ts'
import { ms, type Figures } from './figures.ts'

const PEERS = 5
/** Until what the start left over is done. */
const SETTLE_MS = 5_000
const SAMPLE_MS = 20_000

/** Time to form a mesh, and what its peers take before their first task. */
export async function idle(figures: Figures): Promise<void> {
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  figures.add({ name: `mesh of ${PEERS} peers forms`, value: ms(bench.formedMs) })
  await bench.mesh.close()
  await sleep(SETTLE_MS)
  const pids = bench.peers.map(({ pid }) => pid)
  const before = pids.map(cpuSeconds)
  await sleep(SAMPLE_MS)
  const percent = pids.map((pid, i) => ((cpuSeconds(pid) - before[i]!) / (SAMPLE_MS / 1000)) * 100)
  const megabytes = pids.map(pid => residentBytes(pid) / 1e6)
  const worstCpu = Math.max(...percent)
  const worstMemory = Math.max(...megabytes)
  const all = (values: number[], digits: number): string =>
    values.map(value => value.toFixed(digits)).join(' ')
  figures.add({
    name: 'idle peer, CPU, worst of 5',
    value: `${worstCpu.toFixed(1)} % of a core (${all(percent, 1)})`,
    score: worstCpu,
    target: { atMost: 2 },
  })
  figures.add({
    name: 'idle peer, memory, worst of 5',
    value: `${worstMemory.toFixed(0)} MB (${all(megabytes, 0)})`,
    score: worstMemory,
    target: { atMost: 160 },
  })
}
