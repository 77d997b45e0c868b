import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { run } from './bench-mesh.ts'

const result = z.object({
  tookMs: z.number(),
  answer: z.unknown(),
  /** Of each iteration, where the script has any. */
  iterationsMs: z.array(z.number()).optional(),
})

export type PlainResult = z.infer<typeof result>

/** Runs one of the `plain-*.ts` scripts beside this file as a process: what one would write by hand for one thread. */
export async function plainScript(name: string, ...args: string[]): Promise<PlainResult> {
  return result.parse(JSON.parse(await run([fileURLToPath(new URL(name, import.meta.url)), ...args])))
}
