import type { JobState, Waiting } from '../../../src/rdd/job-state.ts'
import type { OutputRegistry } from '../../../src/rdd/output-registry.ts'
import { Scheduler } from '../../../src/rdd/scheduler.machine.ts'
import type { SchedulerEvent } from '../../../src/rdd/scheduler-types.ts'
import type { JobMutant } from './job-world.ts'

/** Bugs planted one at a time, each the breach of one rule, and the harm by which they must show; `from`: rare ones are looked for from there. */
export const JOB_MUTANTS: Record<string, { mutant: () => JobMutant; harm: RegExp; from?: number }> = {
  'believes in the outputs of an executor that is gone': {
    mutant: () => ({
      scheduler: class extends Scheduler {
        protected override dropOutputs(_outputs: OutputRegistry, _peer: string): void {}
      },
    }),
    harm: /at the absent peer|which is gone/,
  },
  'lets attempts run on whose task is done': {
    mutant: () => ({
      scheduler: class extends Scheduler {
        protected override cancelAttempts(): void {}
      },
    }),
    harm: /still runs|no task says so/,
  },
  'goes on with what was computed from a map output that has changed since': {
    mutant: () => ({
      scheduler: class extends Scheduler {
        protected override restartReaders(): void {}
      },
    }),
    harm: /different computations/,
    from: 550,
  },
  'accepts a result twice': { mutant: () => ({ acceptsTwice: true }), harm: /accepted twice/ },
  'takes a sealed result for an accepted one': {
    mutant: () => ({
      told: event =>
        event.type === 'task-ended' && event.outcome.type === 'result'
          ? [{ ...event, outcome: { ...event.outcome, accepted: true } }]
          : [event],
    }),
    harm: /did not end|has not all/,
  },
  'counts the loss of an executor as the user’s failure': {
    mutant: () => ({
      told: (event, leader) => {
        if (event.type !== 'executor-gone') return [event]
        const error = { code: 'TASK_FAILED', message: 'lost', details: { message: 'lost' } } as const
        const failures = leader.handedTo(event.peer).map(({ jobId, id }): SchedulerEvent => ({
          type: 'task-ended',
          peer: event.peer,
          jobId,
          id,
          outcome: { type: 'failed', error },
        }))
        return [...failures, event]
      },
    }),
    // Told before the executor counts as gone, so a reader may be sent there once more.
    harm: /TASK_FAILED|which is gone/,
  },
  'trusts a leader of an earlier term with its reports': {
    mutant: () => ({ reportsToAnybody: true }),
    harm: /did not end/,
    from: 880,
  },
  'does not hear that a sealed result is lost': {
    mutant: () => ({ told: event => (event.type === 'result-lost' ? [] : [event]) }),
    harm: /did not end/,
  },
  'does not hear that an executor is gone': {
    mutant: () => ({ told: event => (event.type === 'executor-gone' ? [] : [event]) }),
    harm: /did not end|which is gone/,
  },
  'does not hear of cancellations': {
    mutant: () => ({ told: event => (event.type === 'job-cancelled' ? [] : [event]) }),
    harm: /after it ended/,
  },
  'forgets the leases': {
    mutant: () => ({ told: event => (event.type === 'lease-renewed' ? [] : [event]) }),
    harm: /JOB_CANCELLED/,
  },
  'keeps from the executors that a requester is behind another peer now': {
    mutant: () => ({ tellsNobodyOfMoves: true }),
    harm: /did not end|something is left/,
  },
  'does not tell the leader that it is behind another peer now': {
    mutant: () => ({ movesInSilence: true }),
    harm: /did not end/,
  },
  'obeys a leader of an earlier term': { mutant: () => ({ obeysAnybody: true }), harm: /obeys term/ },
  'begins what acts on the world outside a second time, beside an attempt that runs': {
    mutant: () => ({
      told: event =>
        event.type === 'job-submitted' ? [{ ...event, job: { ...event.job, runsOnce: false } }] : [event],
    }),
    harm: /acts twice/,
  },
  'waits for ever for a peer that kept a partition': {
    mutant: () => ({
      scheduler: class extends Scheduler {
        protected override waitsForKept(job: JobState, { stage, task }: Waiting): boolean {
          return job.keptAt(stage, task).length > 0
        }
      },
    }),
    harm: /did not end/,
  },
  'takes a kept partition for there that is lost': {
    mutant: () => ({ trustsWhatWasKept: true }),
    harm: /is \d+, not \d+/,
  },
  'commits an output anew each time that it has no answer': {
    mutant: () => ({ winnerOf: (jobId, tries) => `${jobId}, try ${tries}` }),
    harm: /is not committed: ALREADY_COMMITTED/,
  },
  'begins detached jobs from their beginning when it leads anew': {
    mutant: () => ({ forgetsWhatIsKept: true }),
    harm: /begins \d+ again, which is kept/,
  },
}
