/** Slices shorter than this are copied by V8 itself. */
const SLICED_LENGTH_MIN = 13

/**
 * The same string with memory of its own. A slice keeps the text it was cut from alive: one kept per 64 KiB block
 * would retain a whole file. Whatever outlives its block goes through here once.
 */
export function retainedString(text: string): string {
  return text.length < SLICED_LENGTH_MIN ? text : (' ' + text).slice(1)
}

export function retained(value: unknown): unknown {
  return typeof value === 'string' ? retainedString(value) : value
}
