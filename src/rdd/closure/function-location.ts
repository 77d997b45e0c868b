import type { SourceLocation } from './closure-graph.ts'
import { locateFunction, scriptFile, type InspectedLocation } from './function-inspector.ts'
import { functionSource, type FunctionSource } from './function-source.ts'
import { textOf } from './value-shape.ts'

/**
 * The user's file and line in which a function was written. undefined for native and bound functions, and for code
 * that never had a file (`new Function`). Types are stripped in place, so a .ts function stands at its own line.
 */
export function functionLocation(fn: Function): SourceLocation | undefined {
  const location = locateFunction(fn)
  if (location === undefined || location.url === '') return undefined
  let source: FunctionSource | undefined
  try {
    source = functionSource(textOf(fn))
  } catch {
    // Not strict JavaScript: capture will refuse it, and wants to say where it is.
  }
  return sourceLocation(location, source)
}

/** Where the text of a function starts, given where V8 says it is: at its parameters, at a class's constructor… */
export function sourceLocation(
  location: InspectedLocation,
  source: FunctionSource | undefined,
): SourceLocation {
  const before = source?.text.slice(0, source.anchor) ?? ''
  const lines = before.split(/\r\n|[\n\r\u2028\u2029]/).length - 1
  return {
    file: scriptFile(location.url),
    line: Math.max(1, location.line - lines + 1),
    // The start of an earlier line is not known; nothing but the first line's column depends on it.
    column: lines === 0 ? Math.max(1, location.column - before.length + 1) : 1,
  }
}
