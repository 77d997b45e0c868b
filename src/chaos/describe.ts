import type { CheckResult, Violation } from './linearizability.ts'
import type { Operation } from './operation.ts'

/** Of the operations before the one that does not fit, so many are shown. */
const PREFIX_SHOWN = 8
const NS_PER_S = 1e9

/** A verdict for people: one line, and for each violation what did not fit into any order. */
export function describeCheck(result: CheckResult): string {
  const { verdict, operations, parts, configurations, violations, undecided } = result
  const head = `${verdict}: ${operations} operations in ${parts} parts, ${configurations} combinations looked at`
  const open =
    undecided.length === 0
      ? []
      : [`undecided, for the search was too long: ${undecided.slice(0, PREFIX_SHOWN).join(', ')}`]
  return [head, ...violations.map(describeViolation), ...open].join('\n')
}

function describeViolation({ part, prefix, stuck, state }: Violation): string {
  const shown = prefix.slice(-PREFIX_SHOWN).map(operation => `    ${describeOperation(operation)}`)
  if (shown.length < prefix.length) shown.unshift(`    … ${prefix.length - shown.length} before`)
  return [
    `${part}: no order of its operations explains the answers. The longest that does:`,
    ...shown,
    `  leaves ${state}, after which none of these can come next:`,
    ...stuck.map(operation => `    ${describeOperation(operation)}`),
  ].join('\n')
}

/** '12.304–12.310 s  c1  read /chaos/f3 → "c2-17"' */
export function describeOperation({ process, op, key, input, output, call, return: end }: Operation): string {
  const time = `${seconds(call)}–${end === null ? '?' : seconds(end)} s`
  const asked = input === null ? '' : ` ${JSON.stringify(input)}`
  const answer = output === null ? '?' : 'error' in output ? output.error : JSON.stringify(output.ok)
  return `${time}  ${process}  ${op} ${key}${asked} → ${answer}`
}

function seconds(ns: number): string {
  return (ns / NS_PER_S).toFixed(3)
}
