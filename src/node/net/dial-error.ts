import { ShoalError } from '../../base/index.ts'
import { ADMISSION_FAILED } from './admission.ts'
import { MESH_KEY_FILE } from './mesh-key.ts'
import { textOf } from './secret-file.ts'

/** Refusals that say more than UNREACHABLE would. */
const PASSED_ON: ReadonlySet<string> = new Set([
  'MESH_MISMATCH',
  'NOT_ADMITTED',
  'BAD_MESSAGE',
  'CANCELLED',
  'CONFIG_INVALID',
])

/** Refusals as they are; everything else is UNREACHABLE with what libp2p says about it. */
export function dialError(peer: string, addresses: string[], error: unknown): ShoalError {
  const texts = textsOf(error)
  const refusal = texts.find(text => text.includes(ADMISSION_FAILED))
  if (refusal !== undefined) {
    const text = `not admitted by ${peer}: ${refusal}. Is ${MESH_KEY_FILE} the same on both?`
    return new ShoalError('NOT_ADMITTED', { peer, reason: refusal }, text, { cause: error })
  }
  if (error instanceof ShoalError && PASSED_ON.has(error.code)) return error
  const reason = texts.join('; ')
  const text = `cannot reach ${peer}: ${reason}`
  return new ShoalError('UNREACHABLE', { peer, addresses, reason }, text, { cause: error })
}

function textsOf(error: unknown): string[] {
  return error instanceof AggregateError ? error.errors.flatMap(textsOf) : [textOf(error)]
}
