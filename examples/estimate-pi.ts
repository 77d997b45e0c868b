import { connect } from 'shoal'

/**
 * π by throwing darts: a module that attaches by itself, so `node` runs it as well.
 *
 *     shoal run examples/estimate-pi.ts [DARTS]
 */
const darts = Number(process.argv[2] ?? 20_000_000)

await using mesh = await connect()

// Captured by value: every task gets it.
const radius = 1
const hits = await mesh
  .range(darts)
  .filter(() => Math.hypot(Math.random(), Math.random()) <= radius)
  .count({ name: 'darts' })

console.log(`π is about ${(4 * hits) / darts} (${hits} of ${darts} darts)`)
