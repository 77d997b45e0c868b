import type { Skew } from '../../node/index.ts'
import { humanBytes, humanMs } from '../units.ts'

/** 'stage 2: partition 7 has 41 times the median records (41,000; its largest group has 40,000, key de)'. */
export function skewLine(
  stage: number,
  { partition, of, value, times, largestGroup, largestKey }: Skew,
): string {
  const amount =
    of === 'bytes' ? humanBytes(value) : of === 'time' ? humanMs(value) : value.toLocaleString('en-US')
  const group = largestGroup > 1 ? `; its largest group has ${largestGroup.toLocaleString('en-US')}` : ''
  const key = group !== '' && largestKey !== undefined ? `, key ${largestKey}` : ''
  const verb = of === 'time' ? 'took' : 'has'
  return `stage ${stage}: partition ${partition} ${verb} ${times} times the median ${of} (${amount}${group}${key})`
}
