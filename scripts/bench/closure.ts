/**
 * What capturing and rebuilding a closure costs, and what it does to the speed of the function. Times depend on the
 * machine; the ratios, taken in one interleaved run, do not.
 */
import vm from 'node:vm'
import { capture, encodeClosure, reviveClosure } from '../../src/rdd/closure/index.ts'

const factor = 3
class Rate {
  readonly percent: number
  constructor(percent: number) {
    this.percent = percent
  }
  of(x: number): number {
    return rounded(x * this.percent)
  }
}
class Discount extends Rate {
  override of(x: number): number {
    return -super.of(x)
  }
}
const rounded = (x: number): number => Math.round(x * 100) / 100
const rate = new Rate(0.2)
const discount = new Discount(0.1)
const factors = new Map([['a', factor]])
const price = (x: number): number => x + rate.of(x) + discount.of(x) + (factors.get('a') ?? 0)

const simple = (x: number): number => x * factor
const graph = (x: number): number => price(x)

function microseconds(times: number, act: () => void): number {
  for (let i = 0; i < times / 10; i++) act()
  const start = performance.now()
  for (let i = 0; i < times; i++) act()
  return ((performance.now() - start) * 1000) / times
}

const firstStart = performance.now()
capture(simple)
console.log(`first capture of a process: ${(performance.now() - firstStart).toFixed(0)} ms`)

for (const [name, fn] of Object.entries({ simple, graph })) {
  const captured = capture(fn)
  const bytes = encodeClosure(captured)
  const times = {
    capture: microseconds(500, () => void capture(fn)),
    encode: microseconds(5000, () => void encodeClosure(captured)),
    revive: microseconds(2000, () => void reviveClosure(bytes)),
  }
  const shown = Object.entries(times).map(([step, us]) => `${step} ${us.toFixed(1)} µs`)
  console.log(`${name}: ${shown.join(', ')}, ${captured.nodes.length} nodes, ${bytes.length} bytes`)
}

type Fn = (x: number) => number

const SLICE = 1024
const ELEMENTS = 3e7
let loops = 0

/** The engine's way: one loop of its own text for each function, run over slices. */
function run(fn: Fn): number {
  const text = `(f,n)=>{let s=0;for(let b=0;b<n;b+=${SLICE}){for(let i=0;i<${SLICE};i++)s+=f(i)}return s}//${loops++}`
  const loop = vm.runInThisContext(text) as (fn: Fn, n: number) => number
  loop(fn, ELEMENTS / 100)
  const start = performance.now()
  loop(fn, ELEMENTS)
  return performance.now() - start
}

const bytes = encodeClosure(capture(simple))
const byNewFunction = vm.runInThisContext(
  `k => new Function('$c', '"use strict";const factor=$c[0];return x=>x*factor')([k])`,
) as (k: number) => Fn
const ways: Record<string, () => Fn> = {
  'new Function': () => byNewFunction(factor),
  'revived, a script of its own': () => reviveClosure(bytes) as Fn,
  'the user’s own function object': () => simple,
}

const samples = new Map<string, number[]>(Object.keys(ways).map(name => [name, []]))
for (let round = 0; round < 9; round++) {
  for (const [name, make] of Object.entries(ways)) samples.get(name)?.push(run(make()))
}
const median = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1]!
const base = median(samples.get('new Function')!)
for (const [name, times] of samples) {
  console.log(`loop over ${name}: ${median(times).toFixed(1)} ms, ${(base / median(times)).toFixed(2)}x`)
}

// A debugger that stayed enabled would slow what is compiled from now on.
// The best of some runs: other work on the machine only ever makes them longer.
const best = (): number => Math.min(...Array.from({ length: 9 }, () => run(byNewFunction(factor))))
const before = best()
for (let i = 0; i < 200; i++) capture(vm.runInThisContext(`x => x + ${i}`) as Function)
const after = best()
console.log(`loops after 200 captures of new scripts: ${(before / after).toFixed(2)}x of the speed before`)
