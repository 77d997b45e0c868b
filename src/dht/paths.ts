import { ShoalError } from '../base/index.ts'

/** Bytes of one name, as on most file systems, so that what is here can be copied there. */
export const NAME_BYTES_MAX = 255
/** Bytes of a whole path, PATH_MAX of Linux. */
export const PATH_BYTES_MAX = 4096

/**
 * The names along an absolute path; none for the root. Doubled and trailing slashes and `.` are dropped; names are
 * kept as they are otherwise (no Unicode normalisation: two spellings are two files, as on Linux).
 * Throws INVALID_PATH for relative paths, `..` (whoever resolved it must have known the directory), NUL, lone surrogates (they
 * have no UTF-8 form, so peers would disagree), and names or paths that are too long.
 */
export function pathNames(path: string): string[] {
  if (!path.startsWith('/')) throw invalidPath(path, 'it must be absolute: start it with /')
  if (path.includes('\0')) throw invalidPath(path, 'it contains a NUL character')
  if (!path.isWellFormed()) throw invalidPath(path, 'it contains half of a surrogate pair')
  const names: string[] = []
  let bytes = 0
  for (const name of path.split('/')) {
    if (name === '' || name === '.') continue
    if (name === '..') throw invalidPath(path, 'it contains ..; give the path without it')
    const nameBytes = utf8Bytes(name)
    if (nameBytes > NAME_BYTES_MAX) {
      throw invalidPath(path, `a name in it has ${nameBytes} bytes, more than ${NAME_BYTES_MAX}`)
    }
    bytes += nameBytes + 1
    names.push(name)
  }
  if (bytes > PATH_BYTES_MAX) throw invalidPath(path, `it has ${bytes} bytes, more than ${PATH_BYTES_MAX}`)
  return names
}

/** The one spelling of a path: `/a/b`, `/` for the root. Throws INVALID_PATH. */
export function normalisePath(path: string): string {
  return joinNames(pathNames(path))
}

export function joinNames(names: readonly string[]): string {
  return `/${names.join('/')}`
}

/** Bytes of a path in its one spelling. */
export function pathBytes(path: string): number {
  return path === '/' ? 0 : utf8Bytes(path)
}

export function invalidPath(path: string, reason: string): ShoalError<'INVALID_PATH'> {
  const shown = path.length > 200 ? `${path.slice(0, 200)}…` : path
  return new ShoalError(
    'INVALID_PATH',
    { path: shown, reason },
    `${JSON.stringify(shown)} is no valid path: ${reason}`,
  )
}

/** Length in UTF-8 of a well-formed string. */
export function utf8Bytes(text: string): number {
  let bytes = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) bytes += 1
    else if (unit < 0x800) bytes += 2
    // Each half of a surrogate pair counts for two of its four bytes.
    else bytes += unit >= 0xd800 && unit <= 0xdfff ? 2 : 3
  }
  return bytes
}
