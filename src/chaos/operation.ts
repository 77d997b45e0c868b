import { z } from 'zod'

const value = z.json()

/** How an operation ended, as its caller was told: with an answer, with a refusal, or (`null`) without either. */
const outcome = z.union([
  z.strictObject({ ok: value }),
  /** A refusal that says that nothing was changed. */
  z.strictObject({ error: z.string().min(1).max(200) }),
  /** Nobody knows: it may take effect at any time after its call, or never. */
  z.null(),
])

export const operationSchema = z
  .strictObject({
    /** One that does one thing at a time. */
    process: z.string().min(1).max(200),
    op: z.string().min(1).max(64),
    /** What it is about; operations of different keys do not touch each other unless the model says so. */
    key: z.string().max(4_096),
    input: value,
    output: outcome,
    /** Nanoseconds of one monotonic clock that all processes of the history share. */
    call: z.int().nonnegative(),
    /** `null` when the outcome is not known. */
    return: z.int().nonnegative().nullable(),
  })
  .refine(({ output, return: returned }) => (output === null) === (returned === null), {
    error: 'an operation has both an output and a time of return, or neither',
  })
  .refine(({ call, return: returned }) => returned === null || returned >= call, {
    error: 'an operation returns after its call',
  })

/** One operation of a history: what was asked, what was answered, and when. */
export type Operation = z.infer<typeof operationSchema>
export type Outcome = Operation['output']
