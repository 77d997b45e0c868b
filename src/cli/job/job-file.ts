import { stat } from 'node:fs/promises'
import { registerHooks } from 'node:module'
import { basename, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { ShoalError } from '../../base/errors.ts'
import { localFailure } from '../../node/files/local-file.ts'

const LIBRARY = new URL('./job-library.ts', import.meta.url).href

/**
 * Imports a job's module, wherever it is: `import … from 'shoal'` in it means this very program's library.
 * @throws LOCAL_FILE when it is missing, SYNTAX_ERROR naming file and line, else what the module itself throws.
 */
export async function importJob(file: string): Promise<{ default?: unknown }> {
  const path = resolve(file)
  await stat(path).then(
    found => {
      if (found.isDirectory()) throw localFailure(file, 'read', new Error('it is a directory'))
    },
    (error: unknown) => Promise.reject(localFailure(file, 'read', error)),
  )
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'shoal' ? { url: LIBRARY, shortCircuit: true } : next(specifier, context),
  })
  try {
    return (await import(pathToFileURL(path).href)) as { default?: unknown }
  } catch (error) {
    throw asSyntaxError(error) ?? asMissingImport(error) ?? error
  }
}

/** Node puts the place before an error's own text: 'file:///home/me/job.ts:3', some lines, a mark below the last. */
function asSyntaxError(error: unknown): ShoalError | undefined {
  if (!(error instanceof SyntaxError)) return undefined
  const stack = error.stack ?? ''
  const place = /^(file:\/\/\S+|\/.+|[A-Za-z]:\\.+):(\d+)\n/.exec(stack)
  // A SyntaxError thrown at run time, by JSON.parse for one, has no such place: it is the job's own.
  if (place === null) return undefined
  const [, where = '', lineText = ''] = place
  const file = where.startsWith('file:') ? fileURLToPath(where) : where
  const line = Number(lineText)
  const reason = error.message
  const text = /\n(.*)\n *\^+/.exec(stack)?.[1]?.trim() ?? ''
  return new ShoalError(
    'SYNTAX_ERROR',
    { file, line, reason },
    `${basename(file)}:${line}: ${reason}${text === '' ? '' : `\n  ${text}`}\n  in ${file}`,
    { cause: error },
  )
}

function asMissingImport(error: unknown): ShoalError | undefined {
  const { code, message } = error as NodeJS.ErrnoException
  if (code !== 'ERR_MODULE_NOT_FOUND') return undefined
  return new ShoalError(
    'LOCAL_FILE',
    { path: message, reason: 'not found' },
    `${message}: is it installed, is its name right?`,
  )
}
