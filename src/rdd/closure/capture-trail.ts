import type { SourceLocation } from './closure-graph.ts'
import { closureLimits } from './config.ts'
import { refusal, type CaptureSite } from './refusal.ts'
import { joinPath } from './value-shape.ts'

/** One step on the way from the function to a value, linked so that any number of values can keep theirs. */
interface Step {
  part: string
  parent: Step | undefined
  depth: number
}

/** A place to come back to. */
export interface Position {
  step: Step | undefined
  place: SourceLocation | undefined
}

/** Longest way shown whole in a message. */
const SHOWN_STEPS = 12

/**
 * Where a capture is, how much it has taken so far, and what it has to tell: refusals and warnings say by which way a
 * value was reached.
 */
export class CaptureTrail {
  readonly warnings: string[] = []
  sizeBytes = 0
  /** Function being captured; it may be one that the user's function captured. */
  place: SourceLocation | undefined
  readonly #site: CaptureSite
  readonly #maxBytes: number
  readonly #maxNodes: number
  #nodes = 0
  #step: Step | undefined
  #longest: Step | undefined

  constructor(site: CaptureSite, maxBytes: number, maxNodes: number) {
    this.#site = site
    this.#maxBytes = maxBytes
    this.#maxNodes = maxNodes
    this.place = site.location
  }

  /** True at the user's function itself. */
  get atStart(): boolean {
    return this.#step === undefined
  }

  position(): Position {
    return { step: this.#step, place: this.place }
  }

  return(position: Position): void {
    this.#step = position.step
    this.place = position.place
  }

  within<T>(part: string, act: () => T): T {
    const parent = this.#step
    this.#step = { part, parent, depth: (parent?.depth ?? 0) + 1 }
    const result = act()
    // Not in a finally: nothing goes on after a refusal.
    this.#step = parent
    return result
  }

  charge(bytes: number): void {
    this.sizeBytes += bytes
    if (this.sizeBytes <= this.#maxBytes) return
    this.refuse(
      `it makes the closure larger than ${this.#maxBytes} bytes; broadcast() it instead, and read its .value in the function`,
    )
  }

  countNode(isRow: boolean): void {
    if ((this.#step?.depth ?? 0) > (this.#longest?.depth ?? 0)) this.#longest = this.#step
    if (isRow || ++this.#nodes <= this.#maxNodes) return
    const steps = stepsTo(this.#longest)
    const shown =
      steps.length <= SHOWN_STEPS
        ? joinPath(steps)
        : `${joinPath(steps.slice(0, 8))} … ${joinPath(steps.slice(-3))}`
    while (this.#step?.parent !== undefined) this.#step = this.#step.parent
    this.refuse(
      `it leads to more than ${this.#maxNodes} objects, the longest way being ${shown} (${steps.length} steps); ` +
        'capture only what the function needs, or broadcast() it',
    )
  }

  warn(text: string): void {
    const where = this.place === undefined ? '' : `${this.place.file}:${this.place.line}: `
    const warning = `${where}${text}`
    if (!this.warnings.includes(warning)) this.warnings.push(warning)
  }

  warnOfSize(): void {
    if (this.sizeBytes <= closureLimits.warnBytes) return
    this.warnings.push(
      `the captured values take about ${this.sizeBytes} bytes and go to every peer that runs a task: ` +
        'broadcast() what is large',
    )
  }

  refuse(reason: string, cause?: unknown): never {
    const inside = this.place !== undefined && this.place !== this.#site.location
    const seen = inside ? ` (seen from ${this.place?.file}:${this.place?.line})` : ''
    throw refusal(this.#site, joinPath(stepsTo(this.#step)), `${reason}${seen}`, cause)
  }
}

function stepsTo(last: Step | undefined): string[] {
  const steps: string[] = []
  for (let step = last; step !== undefined; step = step.parent) steps.push(step.part)
  return steps.reverse()
}
