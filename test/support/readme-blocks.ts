import { stripTypeScriptTypes } from 'node:module'
import { parse, type Comment } from 'acorn'

export interface ReadmeBlock {
  /** First line of its code in the file. */
  line: number
  language: string
  code: string
}

/** The fenced blocks of a Markdown text, in order. */
export function blocksOf(markdown: string): ReadmeBlock[] {
  const blocks: ReadmeBlock[] = []
  for (const match of markdown.matchAll(/^```(\w*)\n([^]*?)^```$/gm)) {
    const line = markdown.slice(0, match.index).split('\n').length + 1
    blocks.push({ line, language: match[1] ?? '', code: match[2] ?? '' })
  }
  return blocks
}

const SHOWN = /^\s*→ (.*)$/

export interface Program {
  /** JavaScript; prints one line of JSON, `[shown, actual, line]`, for each result that the block shows. */
  code: string
  /** Results shown: `expression // → result`. */
  shown: number
}

/**
 * A block as a program that checks itself: what `expression // → text` shows is compared with how Node would show the value.
 * @param library Imported instead of 'shoal'.
 * @throws when a shown result belongs to no expression.
 */
export function programOf({ code, line: firstLine }: ReadmeBlock, library: string): Program {
  // Stripping leaves blanks, so that places stay the same.
  const source = stripTypeScriptTypes(code)
  const comments: Comment[] = []
  const program = parse(source, {
    ecmaVersion: 'latest',
    sourceType: 'module',
    allowAwaitOutsideFunction: true,
    onComment: comments,
  })
  const expressions = new Map<number, { start: number; end: number }>()
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    if ('type' in node && node.type === 'ExpressionStatement') {
      const { expression } = node as unknown as { expression: { start: number; end: number } }
      expressions.set(lineAt(source, expression.end), expression)
    }
    for (const child of Object.values(node)) visit(child)
  }
  visit(program)
  let checked = source.replaceAll("'shoal'", JSON.stringify(library))
  const moved = (at: number): number =>
    at + source.slice(0, at).replaceAll("'shoal'", JSON.stringify(library)).length - at
  let shown = 0
  for (const comment of comments.toReversed()) {
    const text = SHOWN.exec(comment.value)?.[1]
    if (text === undefined) continue
    const line = lineAt(source, comment.start)
    const expression = expressions.get(line)
    if (expression === undefined)
      throw new Error(`line ${firstLine + line - 1} shows a result of no expression`)
    const { start, end } = expression
    const [from, to] = [moved(start), moved(end)]
    const value = checked.slice(from, to)
    checked = `${checked.slice(0, from)}__shows(${JSON.stringify(text)}, ${value}, ${firstLine + line - 1})${checked.slice(to)}`
    shown++
  }
  return { code: `${PRELUDE}${checked}`, shown }
}

const PRELUDE = `import { inspect as __inspect } from 'node:util'
const __shows = (shown, value, line) =>
  console.log(JSON.stringify([shown, __inspect(value, { breakLength: Infinity }), line]))
`

function lineAt(text: string, at: number): number {
  return text.slice(0, at).split('\n').length
}
