/**
 * Word count as one would write it by hand for one thread: `node plain-word-count.ts FILE` prints the ten most frequent
 * words and how long it took, start of the process not counted.
 */
import { createReadStream } from 'node:fs'

const startMs = performance.now()
const counts = new Map<string, number>()

function countLine(line: string): void {
  for (const word of line.toLowerCase().match(/[a-z']+/g) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1)
}

let rest = ''
for await (const chunk of createReadStream(process.argv[2]!, {
  encoding: 'utf8',
  highWaterMark: 256 * 1024,
})) {
  const lines = (rest + (chunk as string)).split('\n')
  rest = lines.pop()!
  for (const line of lines) countLine(line)
}
countLine(rest)
const top = [...counts].toSorted((a, b) => b[1] - a[1]).slice(0, 10)
console.log(JSON.stringify({ tookMs: performance.now() - startMs, answer: top }))
