/** k-means over lines `label,x1,x2,…` (the label is left out), from the first K points: `node plain-k-means.ts FILE ITERATIONS K`. */
import { readFileSync } from 'node:fs'

const startMs = performance.now()
const points: number[][] = []
for (const line of readFileSync(process.argv[2]!, 'utf8').split('\n')) {
  if (line !== '') points.push(line.split(',').map(Number).slice(1))
}
let centers = points.slice(0, Number(process.argv[4]))
const iterationsMs: number[] = []
for (let iteration = 0; iteration < Number(process.argv[3]); iteration++) {
  const beganMs = performance.now()
  const sums = centers.map(center => ({ count: 0, sum: center.map(() => 0) }))
  for (const point of points) {
    let best = 0
    let bestDistance = Infinity
    for (let c = 0; c < centers.length; c++) {
      const center = centers[c]!
      let distance = 0
      for (let i = 0; i < point.length; i++) distance += (point[i]! - center[i]!) ** 2
      if (distance < bestDistance) {
        bestDistance = distance
        best = c
      }
    }
    const into = sums[best]!
    into.count++
    for (let i = 0; i < point.length; i++) into.sum[i]! += point[i]!
  }
  centers = sums.map(({ count, sum }, c) => (count === 0 ? centers[c]! : sum.map(total => total / count)))
  iterationsMs.push(performance.now() - beganMs)
}
console.log(JSON.stringify({ tookMs: performance.now() - startMs, answer: centers, iterationsMs }))
