/** Groups lines `key,value` by hand and prints a digest of the groups: `node plain-group-by.ts FILE`. */
import { readFileSync } from 'node:fs'

const startMs = performance.now()
const groups = new Map<string, number[]>()
for (const line of readFileSync(process.argv[2]!, 'utf8').split('\n')) {
  if (line === '') continue
  const comma = line.indexOf(',')
  const key = line.slice(0, comma)
  const value = Number(line.slice(comma + 1))
  const group = groups.get(key)
  if (group === undefined) groups.set(key, [value])
  else group.push(value)
}
let answer = 0
for (const values of groups.values()) answer += values.length * Math.max(...values)
console.log(JSON.stringify({ tookMs: performance.now() - startMs, answer }))
