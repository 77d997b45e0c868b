import assert from 'node:assert/strict'
import type { Mesh } from '../../src/node/index.ts'

/** Reads a saved sort part by part on the peers: each is in order, and begins where the one before ended or later. */
export async function checkSorted(
  mesh: Mesh,
  path: string,
  { records, keyCharacters }: { records: number; keyCharacters: number },
): Promise<void> {
  const parts = await mesh
    .textFile(path)
    .mapPartitions(lines => {
      let [first, last, count, isOrdered] = ['', '', 0, true]
      for (const line of lines) {
        const key = line.slice(0, keyCharacters)
        if (count++ === 0) first = key
        if (key < last) isOrdered = false
        last = key
      }
      return [{ first, last, count, isOrdered }]
    })
    .collect()
  let last = ''
  let count = 0
  for (const part of parts.filter(each => each.count > 0)) {
    assert.ok(part.isOrdered && part.first >= last, `what begins with ${part.first} is not in order`)
    last = part.last
    count += part.count
  }
  assert.equal(count, records)
}
