/** Joins two files of lines `key,value` by hand and prints a digest of the pairs: `node plain-join.ts LEFT RIGHT`. */
import { readFileSync } from 'node:fs'

const startMs = performance.now()

function* rows(path: string): Generator<[string, number]> {
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (line === '') continue
    const comma = line.indexOf(',')
    yield [line.slice(0, comma), Number(line.slice(comma + 1))]
  }
}

const right = new Map<string, number[]>()
for (const [key, value] of rows(process.argv[3]!)) {
  const known = right.get(key)
  if (known === undefined) right.set(key, [value])
  else known.push(value)
}
let answer = 0
for (const [key, left] of rows(process.argv[2]!)) {
  for (const value of right.get(key) ?? []) answer += (left * value) % 1_000
}
console.log(JSON.stringify({ tookMs: performance.now() - startMs, answer }))
