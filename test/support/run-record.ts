import { appendFileSync, existsSync, readFileSync } from 'node:fs'

/** One attempt at a partition, as the attempt itself noted it. */
export interface Attempt {
  stage: string
  partition: number
  /** Of the peer that ran it. */
  pid: number
}

/**
 * What ran where, from the workers themselves: every attempt appends a line to a file that all peers of a local
 * cluster can write. Call `noteAttempt` inside a closure with the file's path.
 */
export function noteAttempt(path: string, stage: string, partition: number): void {
  appendFileSync(path, `${stage} ${partition} ${process.pid}\n`)
}

export function readAttempts(path: string): Attempt[] {
  if (!existsSync(path)) return []
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(line => line !== '')
    .map(line => {
      const [stage = '', partition = '', pid = ''] = line.split(' ')
      return { stage, partition: Number(partition), pid: Number(pid) }
    })
}

/** Attempts at one partition of a stage, in the order in which they began. */
export function byPartition(attempts: readonly Attempt[], stage: string): Map<number, Attempt[]> {
  const found = new Map<number, Attempt[]>()
  for (const attempt of attempts) {
    if (attempt.stage !== stage) continue
    const known = found.get(attempt.partition)
    if (known === undefined) found.set(attempt.partition, [attempt])
    else known.push(attempt)
  }
  return found
}
