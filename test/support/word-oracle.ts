import { below, seededRandom } from '../../src/base/index.ts'

const VOCABULARY = Array.from({ length: 2_000 }, (_, i) => `w${i.toString(36)}`)

/** Lines of ten words; a few words are frequent and most are rare, as in language. The same for the same seed. */
export function sampleText(lines: number, seed: number): string {
  const random = seededRandom(seed)
  const word = (): string => VOCABULARY[Math.floor(VOCABULARY.length * random.next() ** 3)]!
  let text = ''
  for (let line = 0; line < lines; line++) {
    const words = Array.from({ length: 1 + below(random, 19) }, word)
    text += `${words.join(' ')}\n`
  }
  return text
}

/** How often each word occurs, by a plain loop. */
export function countWords(text: string): Map<string, number> {
  const counts = new Map<string, number>()
  for (const word of text.split(/\s+/)) {
    if (word !== '') counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return counts
}
