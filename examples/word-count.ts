import type { Mesh } from 'shoal'
import { mobyDick } from './sample-files.ts'

/**
 * The most frequent words of text files, those of Moby-Dick when none is named.
 *
 *     shoal run examples/word-count.ts [PATH…]
 */
export default async function (mesh: Mesh, args: readonly string[]): Promise<void> {
  const paths = args.length > 0 ? args : [await mobyDick(mesh)]
  const words = mesh.textFile(paths).flatMap(line => line.toLowerCase().match(/[a-z']+/g) ?? [])
  const counts = words.map(word => [word, 1]).reduceByKey((left, right) => left + right)
  for (const [word, count] of await counts.top(10, ([, count]) => count, { name: 'word count' })) {
    console.log(`${String(count).padStart(8)}  ${word}`)
  }
}
