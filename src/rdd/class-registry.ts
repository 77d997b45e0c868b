import { createHash } from 'node:crypto'
import {
  capture,
  encodeClosure,
  instancesCanTravel,
  type CaptureOptions,
  type PackageNeed,
} from './closure/index.ts'
import { declareClass } from './codec/index.ts'

/** A class as it travels with each plan. */
export interface DeclaredClass {
  /** Name and hash: the same text and captured values give the same id. */
  id: string
  /** Captured, encoded. */
  closure: Uint8Array
}

const ID_DIGITS = 16

/** The classes that the user of a context declared; instances of them keep their class wherever rows go. */
export class ClassRegistry {
  readonly classes: DeclaredClass[] = []
  readonly packages: PackageNeed[] = []
  /** For captures: a declared class is named, so that all functions of a job, and the rows, mean the same one. */
  readonly ids = new Map<Function, string>()

  /** @throws CLOSURE_REFUSED when its instances cannot be made again from their fields, or it cannot be captured */
  add(type: Function, options: CaptureOptions): void {
    if (this.ids.has(type)) return
    instancesCanTravel(type)
    const captured = capture(type, { ...options, operator: 'registerClass', classes: this.ids })
    const closure = encodeClosure(captured)
    const hash = createHash('sha256').update(closure).digest('hex').slice(0, ID_DIGITS)
    const id = `${type.name}#${hash}`
    this.packages.push(...captured.packages)
    this.classes.push({ id, closure })
    this.ids.set(type, id)
    declareClass(id, type)
  }
}
