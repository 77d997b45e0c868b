import { stripTypeScriptTypes } from 'node:module'
import { parse, type Node, type Pattern, type Program } from 'acorn'
import { ShoalError } from '../../base/errors.ts'

/** What was typed, ready to run as a script in the global scope. */
export interface Snippet {
  code: string
  /** Its value is a promise of the value: it awaits at its top level. */
  isAsync: boolean
}

/** More lines are to come: an open bracket, a template, a class without its end. */
export class IncompleteSnippet extends Error {
  override readonly name = 'IncompleteSnippet'
}

type Statement = Program['body'][number]

/**
 * From TypeScript to a script. Declarations at the top level become variables of the global scope, so that they may be
 * declared again, imports become `await import()`, and `await` works anywhere. Lines keep their numbers.
 * @throws IncompleteSnippet, or SYNTAX_ERROR with the line
 */
export function snippetOf(source: string, file: string): Snippet {
  // At the start of a line a brace opens a block; who types one means an object.
  if (/^\s*\{/.test(source) && !/;\s*$/.test(source)) {
    try {
      return scriptOf(`(${source.trimEnd()})`, file)
    } catch {
      // It was a block.
    }
  }
  return scriptOf(source, file)
}

function scriptOf(source: string, file: string): Snippet {
  const text = withoutTypes(source, file)
  const program = parsed(text, file)
  const isAsync = program.body.some(statement => statement.type === 'ImportDeclaration' || awaits(statement))
  const edits = new Edits(text)
  const names: string[] = []
  for (const statement of program.body) {
    if (isAsync) assign(statement, edits, names)
    else redeclare(statement, edits)
  }
  if (!isAsync) return { code: edits.apply(), isAsync }
  const last = program.body.at(-1)
  if (last?.type === 'ExpressionStatement') {
    // In an object, lest a promise that is the value is awaited as well.
    edits.insert(last.start, 'return { value: (')
    edits.replace(last.expression.end, last.end, ') }')
  }
  const declared = names.length === 0 ? '' : `var ${names.join(', ')}; `
  return { code: `${declared}(async () => { ${edits.apply()}\n})()`, isAsync }
}

function withoutTypes(source: string, file: string): string {
  try {
    return stripTypeScriptTypes(source)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    // ':3', some lines, a mark below the last: none when the culprit is the end.
    const stack = error.stack ?? ''
    const [, text = '', mark = ''] = /\n(.*)\n( *\^+)/.exec(stack) ?? []
    const isAtEnd = /<?eof>?|Unterminated (?:template|block comment)/i.test(error.message) || mark === ''
    if (isAtEnd && !error.message.endsWith('or <eof>') && !error.message.includes('not supported')) {
      throw new IncompleteSnippet(error.message)
    }
    throw syntaxError(file, Number(/^:(\d+)\n/.exec(stack)?.[1] ?? 1), error.message, text, mark)
  }
}

function parsed(text: string, file: string): Program {
  try {
    return parse(text, { ecmaVersion: 'latest', sourceType: 'module', allowAwaitOutsideFunction: true })
  } catch (error) {
    const {
      message,
      pos = 0,
      raisedAt = 0,
      loc,
    } = error as SyntaxError & {
      pos?: number
      raisedAt?: number
      loc?: { line: number; column: number }
    }
    const isOpen = /^Unterminated (?:template|comment)/.test(message)
    if (isOpen || pos >= text.trimEnd().length || raisedAt > text.length) throw new IncompleteSnippet(message)
    const line = loc?.line ?? 1
    const mark = `${' '.repeat(loc?.column ?? 0)}^`
    throw syntaxError(
      file,
      line,
      message.replace(/ \(\d+:\d+\)$/, ''),
      text.split('\n')[line - 1] ?? '',
      mark,
    )
  }
}

function syntaxError(file: string, line: number, reason: string, text: string, mark: string): ShoalError {
  return new ShoalError(
    'SYNTAX_ERROR',
    { file, line, reason },
    `line ${line}: ${reason}\n  ${text}\n  ${mark}`,
  )
}

/** `const` and `let` become `var`, classes and functions stay: all may be declared again. */
function redeclare(statement: Statement, edits: Edits): void {
  if (statement.type === 'VariableDeclaration' && (statement.kind === 'const' || statement.kind === 'let')) {
    edits.replace(statement.start, statement.start + statement.kind.length, 'var')
    // `const { a } = …` needs its value; `let a` typed again must forget the old one.
    for (const { id, init } of statement.declarations) if (init == null) edits.insert(id.end, ' = undefined')
  }
  if (statement.type === 'ClassDeclaration') edits.insert(statement.start, `var ${statement.id.name} = `)
}

/** Within the function that awaits, declarations become assignments to variables outside. */
function assign(statement: Statement, edits: Edits, names: string[]): void {
  switch (statement.type) {
    case 'VariableDeclaration': {
      if (statement.kind === 'using' || statement.kind === 'await using') return
      edits.replace(statement.start, statement.start + statement.kind.length, ';(')
      for (const { id, init } of statement.declarations) {
        names.push(...namesIn(id))
        if (init == null) edits.insert(id.end, ' = undefined')
        // A pattern at the start of an expression would be read as an object.
        else if (id.type !== 'Identifier') {
          edits.insert(id.start, '(')
          edits.insert(init.end, ')')
        }
      }
      edits.insert(statement.declarations.at(-1)!.end, ')')
      return
    }
    case 'ClassDeclaration':
    case 'FunctionDeclaration':
      names.push(statement.id.name)
      edits.insert(statement.start, `;${statement.id.name} = `)
      edits.insert(statement.end, ';')
      return
    case 'ImportDeclaration': {
      const parts: string[] = []
      let whole = ''
      for (const { type, local, ...rest } of statement.specifiers) {
        names.push(local.name)
        if (type === 'ImportNamespaceSpecifier') whole = `${local.name} = `
        else parts.push(`${importedName(rest)}: ${local.name}`)
      }
      const module = `await import(${statement.source.raw ?? ''})`
      const code =
        parts.length === 0 ? `;(${whole}${module})` : `;({ ${parts.join(', ')} } = ${whole}${module})`
      edits.replace(statement.start, statement.end, `${code};`)
      return
    }
    default:
  }
}

function importedName(specifier: object): string {
  if (!('imported' in specifier)) return 'default'
  const imported = specifier.imported as { type: string; name?: string; raw?: string }
  return imported.name ?? imported.raw ?? 'default'
}

function namesIn(pattern: Pattern): string[] {
  switch (pattern.type) {
    case 'Identifier':
      return [pattern.name]
    case 'ObjectPattern':
      return pattern.properties.flatMap(property =>
        namesIn(property.type === 'RestElement' ? property.argument : property.value),
      )
    case 'ArrayPattern':
      return pattern.elements.flatMap(element => (element === null ? [] : namesIn(element)))
    case 'RestElement':
      return namesIn(pattern.argument)
    case 'AssignmentPattern':
      return namesIn(pattern.left)
    default:
      return []
  }
}

/** Outside of functions. */
function awaits(node: Node): boolean {
  if (node.type === 'AwaitExpression') return true
  if (node.type === 'ForOfStatement' && 'await' in node && node.await === true) return true
  if (node.type === 'VariableDeclaration' && 'kind' in node && /using/.test(String(node.kind))) return true
  if (/Function/.test(node.type)) return false
  return Object.values(node).some(child => {
    if (Array.isArray(child)) return child.some(each => isNode(each) && awaits(each))
    return isNode(child) && awaits(child)
  })
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
}

/** Changes to a text by its old positions. */
class Edits {
  readonly #text: string
  readonly #changes: { start: number; end: number; text: string }[] = []

  constructor(text: string) {
    this.#text = text
  }

  insert(at: number, text: string): void {
    this.replace(at, at, text)
  }

  replace(start: number, end: number, text: string): void {
    this.#changes.push({ start, end, text })
  }

  apply(): string {
    let result = ''
    let at = 0
    // Stable: what was said first at a place stands first.
    for (const { start, end, text } of this.#changes.toSorted((a, b) => a.start - b.start)) {
      result += this.#text.slice(at, start) + text
      at = end
    }
    return result + this.#text.slice(at)
  }
}
