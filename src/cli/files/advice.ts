import { ShoalError, type ErrorCode } from '../../base/errors.ts'

/** Adds to the mesh's refusal which option of this very command would change it. */
export async function advised<T>(work: Promise<T>, advice: Partial<Record<ErrorCode, string>>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!isCoded(error)) throw error
    const hint = advice[error.code]
    if (hint === undefined) throw error
    throw new ShoalError(error.code, error.details, `${error.message}; ${hint}`, { cause: error })
  }
}

function isCoded(error: unknown): error is ShoalError {
  return error instanceof ShoalError
}
