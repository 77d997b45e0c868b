/** Keeps a worker thread busy without taking the processor from the others: what a slow disk or remote service does. */
export function doze(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}
