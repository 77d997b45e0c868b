import { z } from 'zod'
import type { TaskId } from './task.ts'

const count = z.number().int().nonnegative()

/** An attempt, as messages name it. */
export const taskId: z.ZodType<TaskId> = z.object({
  stage: count,
  partition: count,
  attempt: count,
  term: count,
})
