import type { Mesh } from '../../node/index.ts'
import { jobsText } from '../mesh-jobs.ts'
import { jobText, latestJob } from '../show-job.ts'
import { fsckText } from '../files/fsck.ts'
import { describePeers } from '../mesh-report.ts'
import { describeReport } from '../mesh-status.ts'

export interface OperatorCommand {
  help: string
  /** What is shown. @param argument what stands behind the name */
  run: (mesh: Mesh, argument: string, signal: AbortSignal) => Promise<string>
}

/** Commands of the REPL that begin with a dot: what the command line shows, without leaving. */
export const OPERATOR_COMMANDS: Readonly<Record<string, OperatorCommand>> = {
  status: {
    help: 'Who is in the mesh, who leads it, how safe its files are',
    run: async (mesh, _argument, signal) => describeReport(await mesh.report({ signal })),
  },
  report: {
    help: 'All about each peer',
    run: async (mesh, _argument, signal) => describePeers(await mesh.report({ signal })),
  },
  jobs: {
    help: 'The jobs that the mesh remembers',
    run: async (mesh, _argument, signal) => await jobsText(mesh, signal),
  },
  job: {
    help: 'What a job did: .job, .job 1f0c9a2b3d4e/7; without its id, the latest',
    run: async (mesh, argument, signal) => {
      const jobId = argument === '' ? await latestJob(mesh, signal) : argument
      return await jobText(mesh, jobId, true, signal)
    },
  },
  fsck: {
    help: 'Whether files have all their copies: .fsck, .fsck /data',
    run: async (mesh, argument, signal) => await fsckText(mesh, argument === '' ? '/' : argument, signal),
  },
}
