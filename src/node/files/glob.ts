import { invalidPath } from '../../dht/index.ts'

/** Spellings that `{a,b}{c,d}…` may stand for; more is a mistake. */
const SPELLINGS_MAX = 1_000

/** One place in a name: `*`, or what a single character must be. */
type Token = 'any' | ((character: string) => boolean)

/** True when the path means several: it has `*`, `?`, `[…]` or `{…}` that no backslash takes back. */
export function isPattern(path: string): boolean {
  for (let at = 0; at < path.length; at++) {
    if (path[at] === '\\') at++
    else if ('*?[{'.includes(path[at]!)) return true
  }
  return false
}

/** The path that is meant: `\*` stands for a star. */
export function unescaped(path: string): string {
  return path.replaceAll(/\\(.)/g, '$1')
}

/**
 * The patterns without braces that `{a,b}` stands for, as in HDFS and shells; a brace may hold slashes and braces.
 * @throws INVALID_PATH when a brace is not closed, or there are too many spellings.
 */
export function spellings(pattern: string): string[] {
  const found: string[] = []
  const pending = [pattern]
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const brace = firstBrace(next)
    if (brace === undefined) found.push(next)
    else {
      const { start, end, choices } = brace
      for (const choice of choices.reverse()) pending.push(next.slice(0, start) + choice + next.slice(end))
    }
    if (pending.length + found.length > SPELLINGS_MAX)
      throw invalidPath(pattern, `its braces stand for more than ${SPELLINGS_MAX} paths`)
  }
  return found
}

function firstBrace(pattern: string): { start: number; end: number; choices: string[] } | undefined {
  let start = -1
  let depth = 0
  let from = 0
  const choices: string[] = []
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at]
    if (character === '\\') at++
    else if (character === '{') {
      if (depth++ === 0) {
        start = at
        from = at + 1
      }
    } else if (depth === 0) continue
    else if (character === ',' && depth === 1) {
      choices.push(pattern.slice(from, at))
      from = at + 1
    } else if (character === '}' && --depth === 0) {
      return { start, end: at + 1, choices: [...choices, pattern.slice(from, at)] }
    }
  }
  if (depth > 0) throw invalidPath(pattern, 'a { in it is not closed; write \\{ for the character itself')
  return undefined
}

/**
 * Whether a name fits: `*` is any characters, `?` one, `[a-c]` one of these, `[^a-c]` or `[!a-c]` one of all others, `\` takes
 * the next as it is. In steps of name times pattern, whatever the pattern.
 * @throws INVALID_PATH when a `[` is not closed.
 */
export function nameMatcher(pattern: string): (name: string) => boolean {
  const tokens = tokensOf(pattern)
  return name => {
    const characters = Array.from(name)
    let token = 0
    let at = 0
    let star = -1
    let resume = 0
    while (at < characters.length) {
      const test = tokens[token]
      if (test === 'any') {
        star = token++
        resume = at
      } else if (test?.(characters[at]!) === true) {
        token++
        at++
      } else if (star !== -1) {
        // The last star takes one more.
        token = star + 1
        at = ++resume
      } else return false
    }
    while (tokens[token] === 'any') token++
    return token === tokens.length
  }
}

function tokensOf(pattern: string): Token[] {
  const characters = Array.from(pattern)
  const tokens: Token[] = []
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at]!
    if (character === '*') {
      if (tokens.at(-1) !== 'any') tokens.push('any')
    } else if (character === '?') tokens.push(() => true)
    else if (character === '[') {
      const { test, end } = classAt(characters, at)
      tokens.push(test)
      at = end
    } else {
      const literal = character === '\\' && at + 1 < characters.length ? characters[++at]! : character
      tokens.push(other => other === literal)
    }
  }
  return tokens
}

function classAt(
  characters: readonly string[],
  open: number,
): { test: (character: string) => boolean; end: number } {
  const isNegated = characters[open + 1] === '^' || characters[open + 1] === '!'
  const first = open + (isNegated ? 2 : 1)
  const ranges: [low: string, high: string][] = []
  for (let at = first; at < characters.length; at++) {
    // Right after the opening it is a character like others.
    if (characters[at] === ']' && at > first) {
      const isIn = (character: string): boolean =>
        ranges.some(([low, high]) => codeOf(low) <= codeOf(character) && codeOf(character) <= codeOf(high))
      return { test: character => isIn(character) !== isNegated, end: at }
    }
    if (characters[at] === '\\') at++
    const low = characters[at] ?? ''
    const high = characters[at + 2]
    if (characters[at + 1] === '-' && high !== undefined && high !== ']') {
      ranges.push([low, high])
      at += 2
    } else ranges.push([low, low])
  }
  throw invalidPath(characters.join(''), 'a [ in it is not closed; write \\[ for the character itself')
}

function codeOf(character: string): number {
  return character.codePointAt(0) ?? -1
}
