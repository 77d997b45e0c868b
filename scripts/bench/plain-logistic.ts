/** Logistic regression by gradient descent over lines `label,x1,x2,…`: `node plain-logistic.ts FILE ITERATIONS`. */
import { readFileSync } from 'node:fs'

const RATE = 0.1
const startMs = performance.now()
const points: { label: number; x: number[] }[] = []
for (const line of readFileSync(process.argv[2]!, 'utf8').split('\n')) {
  if (line === '') continue
  const [label, ...x] = line.split(',').map(Number)
  points.push({ label: label!, x })
}
let weights = points[0]!.x.map(() => 0)
const iterationsMs: number[] = []
for (let iteration = 0; iteration < Number(process.argv[3]); iteration++) {
  const beganMs = performance.now()
  const gradient = weights.map(() => 0)
  for (const { label, x } of points) {
    let dot = 0
    for (let i = 0; i < x.length; i++) dot += weights[i]! * x[i]!
    const scale = (1 / (1 + Math.exp(-label * dot)) - 1) * label
    for (let i = 0; i < x.length; i++) gradient[i]! += scale * x[i]!
  }
  weights = weights.map((weight, i) => weight - (RATE * gradient[i]!) / points.length)
  iterationsMs.push(performance.now() - beganMs)
}
console.log(JSON.stringify({ tookMs: performance.now() - startMs, answer: weights, iterationsMs }))
