/**
 * What happened, as two 32-bit sums over every event and effect: two runs of a seed must agree in them. With `keep` the
 * last lines are kept too, for people.
 */
export class Trace {
  readonly lines: string[] = []
  readonly #keep: number
  #a = 0x811c9dc5
  #b = 0x1b873593
  count = 0

  /** @param keep how many of the last lines to keep @default 0 */
  constructor(keep = 0) {
    this.#keep = keep
  }

  add(nowMs: number, who: string, what: unknown): void {
    this.count++
    this.#number(nowMs)
    this.#text(who)
    this.#value(what)
    if (this.#keep === 0) return
    if (this.lines.length >= this.#keep) this.lines.shift()
    this.lines.push(`${nowMs.toFixed(1).padStart(9)} ${who} ${shown(what)}`)
  }

  get hash(): string {
    return hex(this.#a) + hex(this.#b)
  }

  #value(value: unknown): void {
    if (typeof value === 'number') this.#number(value)
    else if (typeof value === 'string') this.#text(value)
    else if (value instanceof Uint8Array) for (const byte of value) this.#mix(byte)
    else if (Array.isArray(value)) for (const item of value) this.#value(item)
    else if (typeof value === 'object' && value !== null)
      for (const item of Object.values(value)) this.#value(item)
    else this.#mix(value === true ? 1 : value === false ? 2 : 3)
    this.#mix(0x9d)
  }

  #number(value: number): void {
    this.#mix(value | 0)
    this.#mix(Math.round((value % 1) * 1e6) + Math.floor(value / 2 ** 32))
  }

  #text(text: string): void {
    for (let i = 0; i < text.length; i++) this.#mix(text.charCodeAt(i))
  }

  #mix(value: number): void {
    this.#a = Math.imul(this.#a ^ value, 0x01000193)
    this.#b = (Math.imul(this.#b ^ value, 0xcc9e2d51) << 13) | (this.#b >>> 19)
  }
}

function hex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0')
}

function shown(what: unknown): string {
  return JSON.stringify(what, (_key, value: unknown) =>
    value instanceof Uint8Array ? `${value.length} bytes` : value,
  )
}
