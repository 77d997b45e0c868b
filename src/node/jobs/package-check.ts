import { toWire, type Logger, type PeerId, type Transport } from '../../base/index.ts'
import { checkPackages, packageMissing, type PackageNeed } from '../../rdd/index.ts'
import { JOB_LEADER } from '../config.ts'

export interface PackageCheckPorts {
  transport: Transport
  log: Logger
}

/**
 * Asks executors for the packages that a job's closures name, before any of its tasks runs. One that does not answer in time
 * is asked once more, with its first tasks.
 * @returns warnings of versions that differ but ought to do, as ready text
 * @throws PACKAGE_MISSING naming peer and package: also when others have it, for which tasks would run where is chance
 */
export async function checkExecutors(
  executors: readonly PeerId[],
  packages: readonly PackageNeed[],
  { transport, log }: PackageCheckPorts,
): Promise<string[]> {
  const request = { packages: [...packages] }
  const answers = await Promise.all(
    executors.map(async peer => {
      try {
        const timeoutMs = JOB_LEADER.packagesTimeoutMs
        return { peer, said: (await transport.call(peer, checkPackages, request, { timeoutMs })).head }
      } catch (error) {
        log.debug({ peer, error: toWire(error) }, 'an executor did not say which packages it has')
        return undefined
      }
    }),
  )
  const warnings: string[] = []
  for (const answer of answers) {
    if (answer === undefined) continue
    const { peer, said } = answer
    const [lack] = said.missing
    if (lack !== undefined) throw packageMissing(lack, said.directory, { id: peer, name: said.name })
    for (const warning of said.warnings) warnings.push(`peer ${said.name} ${warning}`)
  }
  return warnings
}
