/** PageRank over lines `from,to`, as one would write it by hand: `node plain-page-rank.ts FILE ITERATIONS`. */
import { readFileSync } from 'node:fs'

const startMs = performance.now()
const links = new Map<number, number[]>()
for (const line of readFileSync(process.argv[2]!, 'utf8').split('\n')) {
  if (line === '') continue
  const [from, to] = line.split(',').map(Number)
  const known = links.get(from!)
  if (known === undefined) links.set(from!, [to!])
  else known.push(to!)
}
let ranks = new Map<number, number>()
for (const page of links.keys()) ranks.set(page, 1)
const iterationsMs: number[] = []
for (let iteration = 0; iteration < Number(process.argv[3]); iteration++) {
  const beganMs = performance.now()
  const gained = new Map<number, number>()
  for (const [page, targets] of links) {
    const rank = ranks.get(page)
    if (rank === undefined) continue
    const share = rank / targets.length
    for (const target of targets) gained.set(target, (gained.get(target) ?? 0) + share)
  }
  ranks = new Map()
  for (const [page, share] of gained) ranks.set(page, 0.15 + 0.85 * share)
  iterationsMs.push(performance.now() - beganMs)
}
let answer = 0
for (const rank of ranks.values()) answer += rank
console.log(JSON.stringify({ tookMs: performance.now() - startMs, answer, iterationsMs }))
