/**
 * The figures of the whole system, ours and the baseline in turn in one run: `npm run bench` runs all,
 * `node scripts/bench/bench.ts latency files` some. Peers run as processes, as users start them.
 * `memory` takes the size of its data and the memory of each peer: `node scripts/bench/bench.ts memory --size 512mb --memory 64mb`.
 * `--text` and `--records` are the sizes of word count and sort.
 * `engine.ts` and `closure.ts` beside this file measure parts of a worker in one process.
 */
import { parseArgs } from 'node:util'
import { byteCount } from '../../src/cli/settings.ts'
import { stopAll } from './bench-mesh.ts'
import { numericChain, wordCount } from './compute.ts'
import { cost } from './cost.ts'
import { failover } from './failover.ts'
import { Figures } from './figures.ts'
import { files } from './files.ts'
import { idle } from './idle.ts'
import { iterations } from './iterations.ts'
import { latency } from './latency.ts'
import { membership } from './membership.ts'
import { memory, type MemoryOptions } from './memory.ts'
import { placement } from './placement.ts'
import { namespace } from './namespace.ts'
import { pageRank } from './page-rank.ts'
import { restore } from './restore.ts'
import { groupBy, join } from './sets.ts'
import { sorting } from './sorting.ts'
import { survival } from './survival.ts'

/** Sizes of data, in bytes. */
interface BenchOptions extends MemoryOptions {
  text: number
  records: number
}

const BENCHES: Record<string, (figures: Figures, options: BenchOptions) => Promise<void>> = {
  idle,
  latency,
  'word-count': wordCount,
  numeric: numericChain,
  cost,
  'group-by': groupBy,
  join,
  sort: sorting,
  iterations,
  'page-rank': pageRank,
  files,
  failover,
  membership,
  memory,
  namespace,
  placement,
  restore,
  survival,
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: 'string', default: '4gb' },
    memory: { type: 'string', default: '512mb' },
    text: { type: 'string', default: '1gb' },
    records: { type: 'string', default: '1gb' },
  },
})
const options: BenchOptions = {
  size: byteCount('--size', 1)(values.size),
  memory: byteCount('--memory', 1)(values.memory),
  text: byteCount('--text', 1)(values.text),
  records: byteCount('--records', 1)(values.records),
}
const unknown = positionals.filter(name => !Object.hasOwn(BENCHES, name))
if (unknown.length > 0) {
  console.error(`no such benchmark: ${unknown.join(', ')}; there are ${Object.keys(BENCHES).join(', ')}`)
  process.exit(2)
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    void stopAll().finally(() => process.exit(130))
  })
}
const figures = new Figures()
for (const [name, bench] of Object.entries(BENCHES)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue
  console.log(`${name} …`)
  await bench(figures, options)
}
figures.print()
