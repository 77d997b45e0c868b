import { spawnSync } from 'node:child_process'

const found = new Map<string, boolean>()

/** True when the program can be run here; says so once when it cannot. */
export function isInstalled(program: string): boolean {
  let known = found.get(program)
  if (known === undefined) {
    known = spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined
    found.set(program, known)
    if (!known) console.log(`  ${program} is not installed: not compared`)
  }
  return known
}
