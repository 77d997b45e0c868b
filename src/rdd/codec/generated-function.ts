import { compileFunction } from 'node:vm'

/** Stack frames of generated code name a file that begins so; error reports leave them out. */
export const GENERATED_FILE = 'shoal-generated:'

/**
 * Compiles a function from text that the engine wrote. Text of one content shares type feedback between its copies, so
 * whoever wants a copy of its own makes the text unique with a trailing comment (engine.md section 1).
 * @param name What the function is, for stacks and profiles.
 */
export function generateFunction(
  parameters: readonly string[],
  body: string,
  name: string,
): (...values: never[]) => unknown {
  return compileFunction(body, parameters, { filename: `${GENERATED_FILE}${name}` }) as (
    ...values: never[]
  ) => unknown
}
