import path from 'node:path'
import { ShoalError } from '../../base/index.ts'
import type { SourceLocation } from './closure-graph.ts'
import type { Obstacle } from './free-variables.ts'

/** Where the closure was handed over: what every refusal of one capture says. */
export interface CaptureSite {
  /** Operator that was called ("filter"); undefined for a capture outside an RDD. */
  operator: string | undefined
  /** The user's function. */
  location: SourceLocation | undefined
}

/**
 * "job.ts:12: filter(): cannot ship captured variable "client.socket": it is a Socket; open it inside the function".
 * @param variable path from the function to what cannot travel; '' for the function itself.
 */
export function refusal(
  site: CaptureSite,
  variable: string,
  reason: string,
  cause?: unknown,
): ShoalError<'CLOSURE_REFUSED'> {
  const at = site.location
  const where = at === undefined ? '' : `${path.basename(at.file)}:${at.line}: `
  const operator = site.operator === undefined ? '' : `${site.operator}(): `
  const what = variable === '' ? 'cannot ship the function' : `cannot ship captured variable "${variable}"`
  return new ShoalError(
    'CLOSURE_REFUSED',
    { variable, reason, ...(at === undefined ? {} : { file: at.file, line: at.line }) },
    `${where}${operator}${what}: ${reason}`,
    cause === undefined ? undefined : { cause },
  )
}

export const obstacleReasons: Record<Obstacle, string> = {
  this: 'it uses `this` of the function around it, which cannot be read; copy what it needs into a const first',
  super:
    'it is a method that uses `super`, which means nothing outside its class; capture the object or class instead',
  eval: 'it calls eval(), whose variables cannot be known beforehand; write the code out',
  'import.meta':
    'it uses import.meta, which names a module of this peer; copy what it needs into a const first',
  'new.target': 'it uses new.target of the function around it; copy it into a const first',
  arguments:
    'it uses `arguments` of the function around it; copy it into a const first, as in [...arguments]',
  private:
    'it uses a #private member outside its class; capture the class, or read the member into a const first',
}
