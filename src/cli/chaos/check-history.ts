import {
  checkLinearizable,
  describeCheck,
  namespaceModel,
  readHistory,
  registerModel,
  setModel,
  type CheckResult,
  type Operation,
} from '../../chaos/index.ts'
import type { ModelName } from '../commands/chaos.ts'
import { EXIT_FAILED } from '../error-report.ts'
import type { Settings } from '../settings.ts'
import { print, printJson } from '../terminal.ts'

/** Sets the exit code: 0 only when the history is linearizable; undecided is not. */
export async function checkHistory(file: string, model: ModelName, settings: Settings): Promise<void> {
  const result = checked(model, await readHistory(file))
  if (settings.json) printJson(result)
  else print(describeCheck(result))
  if (result.verdict !== 'linearizable') process.exitCode = EXIT_FAILED
}

function checked(model: ModelName, history: Operation[]): CheckResult {
  if (model === 'register') return checkLinearizable(registerModel, history)
  if (model === 'set') return checkLinearizable(setModel, history)
  return checkLinearizable(namespaceModel, history)
}
