import { expect, test } from 'vitest'
import { CpuMeter } from '../../../src/node/cpu-meter.ts'

test('busy cores are those of the last whole window and what came after it, not of all time', () => {
  let [nowMs, spentMs] = [0, 0]
  using meter = new CpuMeter({ nowMs: () => nowMs }, () => spentMs)
  expect(meter.cores()).toBe(0)
  const run = (ms: number, cores: number): void => {
    nowMs += ms
    spentMs += ms * cores
  }
  run(5_000, 2)
  expect(meter.cores()).toBe(2)
  meter.sample()
  run(5_000, 0)
  expect(meter.cores()).toBe(1)
  meter.sample()
  run(5_000, 0.5)
  expect(meter.cores()).toBe(0.25)
})
