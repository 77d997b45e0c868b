export { checkFrame, damaged, framedChunks, frameHead, FRAME_HEAD_BYTES, readFrameHead } from './kept-rows.ts'
export { TaskRunner, type TaskRunnerOptions } from './task-runner.ts'
