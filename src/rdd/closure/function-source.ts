import { parseExpressionAt, tokenizer, tokTypes, type AnyNode, type Class, type Options } from 'acorn'
import { closureLimits } from './config.ts'
import { freeVariables, type FreeVariables } from './free-variables.ts'

/** What the text of a function says about it. Pure: equal texts give equal answers, so they are kept. */
export interface FunctionSource {
  /** As written; in a class the static state that is shipped as values is blanked out, line ends kept. */
  text: string
  form: 'expression' | 'method'
  type: 'arrow' | 'function' | 'generator' | 'class' | 'method'
  /** The text itself names the function. */
  named: boolean
  free: FreeVariables
  /** Variable that stands after `extends`; its value is the prototype of the class, whatever was written there. */
  superclass: string | undefined
  /** Offset in the text of the place that V8 calls the function's location. */
  anchor: number
  /** Instances have state that cannot be read or written from outside. */
  privateInstances: boolean
  /** Static private state starts again from its initialisers on the executing peer. */
  privateStatics: boolean
  /** Static fields whose initialiser stays in the text: functions, which evaluate to themselves. */
  keptStatics: ReadonlySet<string>
}

const options: Options = {
  ecmaVersion: 'latest',
  // Rebuilt functions are strict; as a module, import.meta parses and can be refused by name.
  sourceType: 'module',
  checkPrivateFields: false,
}

const parsed = new Map<string, FunctionSource>()

/** @throws SyntaxError of acorn when the text is no strict function, class or method. */
export function functionSource(text: string): FunctionSource {
  const known = parsed.get(text)
  if (known !== undefined) return known
  const source = analyse(text)
  if (parsed.size >= closureLimits.parsedTextsMax) parsed.delete(parsed.keys().next().value ?? '')
  parsed.set(text, source)
  return source
}

function analyse(text: string): FunctionSource {
  const expression = parseExpression(text)
  if (expression?.type === 'ClassExpression') return analyseClass(text, expression)
  if (expression !== undefined) {
    const arrow = expression.type === 'ArrowFunctionExpression'
    const generator = 'generator' in expression && expression.generator
    return {
      ...ordinary,
      text,
      form: 'expression',
      type: arrow ? 'arrow' : generator ? 'generator' : 'function',
      named: 'id' in expression && expression.id !== null,
      free: freeVariables(expression),
      anchor: arrow ? 0 : parenthesis(text, 'id' in expression ? (expression.id?.end ?? 0) : 0),
    }
  }
  return analyseMethod(text)
}

const ordinary = {
  superclass: undefined,
  privateInstances: false,
  privateStatics: false,
  keptStatics: new Set<string>(),
}

/** The text as one whole function or class expression; undefined when it must be a method. */
function parseExpression(text: string): AnyNode | undefined {
  let node: AnyNode
  try {
    node = parseExpressionAt(text, 0, options) as AnyNode
  } catch (error) {
    if (/^(async\s+)?function|^class|=>/.test(text) && !isMethod(text)) throw error
    return undefined
  }
  const whole = node.end === text.length
  const type = node.type
  if (!whole) return undefined
  if (type === 'FunctionExpression' || type === 'ArrowFunctionExpression' || type === 'ClassExpression')
    return node
  return undefined
}

function isMethod(text: string): boolean {
  try {
    parseMethod(text)
    return true
  } catch {
    return false
  }
}

const METHOD_PREFIX = '({'

function parseMethod(text: string): AnyNode {
  const node = parseExpressionAt(`${METHOD_PREFIX}${text}})`, 0, options)
  const property = node.type === 'ObjectExpression' ? node.properties[0] : undefined
  if (property?.type !== 'Property') throw new SyntaxError('not a function, class or method')
  return property
}

function analyseMethod(text: string): FunctionSource {
  const property = parseMethod(text)
  if (property.type !== 'Property') throw new SyntaxError('not a method')
  let shipped = text
  if (property.computed) {
    // The key was an expression of the place where the method stood; any name will do for the function alone.
    const start = text.indexOf('[')
    const keyEnd = property.key.end - METHOD_PREFIX.length
    const end = text.indexOf(']', keyEnd) + 1
    shipped = `${text.slice(0, start)}_${blank(text.slice(start + 1, end))}${text.slice(end)}`
  }
  return {
    ...ordinary,
    text: shipped,
    form: 'method',
    type: 'method',
    named: true,
    free: methodVariables(property),
    anchor: property.value.start - METHOD_PREFIX.length,
  }
}

/** With offsets in the method's own text. */
function methodVariables(property: AnyNode): FreeVariables {
  const free = freeVariables(property)
  for (const each of free.dynamicImports) each.start -= METHOD_PREFIX.length
  return free
}

function analyseClass(text: string, node: Class): FunctionSource {
  const keptStatics = new Set<string>()
  let shipped = text
  let privateInstances = false
  let privateStatics = false
  const members = node.body.body
  node.body.body = members.filter(member => {
    const isPrivate = member.type !== 'StaticBlock' && member.key.type === 'PrivateIdentifier'
    if (member.type !== 'StaticBlock' && !member.static) {
      privateInstances ||= isPrivate
      return true
    }
    if (member.type === 'MethodDefinition') return true
    if (member.type === 'PropertyDefinition') {
      if (isPrivate) {
        privateStatics = true
        return true
      }
      if (isFunction(member.value) && !member.computed && member.key.type === 'Identifier') {
        keptStatics.add(member.key.name)
        return true
      }
    }
    // Its effect is shipped as values: running it again on another peer could open, count or register twice.
    shipped =
      shipped.slice(0, member.start) + blank(text.slice(member.start, member.end)) + shipped.slice(member.end)
    return false
  })
  const superclass = superclassName(text, node)
  if (superclass !== undefined && node.superClass) {
    const { start, end } = node.superClass
    shipped =
      shipped.slice(0, start) +
      superclass +
      blank(text.slice(start + superclass.length, end)) +
      shipped.slice(end)
    // Seldom seen by the functions of the class, so the engine keeps no variable to read it from.
    node.superClass = null
  }
  const own = members.find(member => member.type === 'MethodDefinition' && member.kind === 'constructor')
  return {
    text: shipped,
    form: 'expression',
    type: 'class',
    named: node.id !== null && node.id !== undefined,
    free: freeVariables(node as AnyNode),
    superclass,
    anchor: own?.type === 'MethodDefinition' ? own.value.start : 0,
    privateInstances,
    privateStatics,
    keptStatics,
  }
}

/** The name as written, or for an expression one as short that the text does not use. */
function superclassName(text: string, { superClass }: Class): string | undefined {
  if (superClass?.type === 'Identifier') return superClass.name
  if (!superClass || superClass.type === 'Literal') return undefined
  const names = 'abcdefghijklmnopqrstuvwxyz'.split('').map(letter => `$${letter}`)
  return names.find(name => !text.includes(name))
}

function isFunction(node: AnyNode | null | undefined): boolean {
  const type = node?.type
  return type === 'FunctionExpression' || type === 'ArrowFunctionExpression' || type === 'ClassExpression'
}

function blank(text: string): string {
  return text.replace(/[^\n\r\u2028\u2029]/g, ' ')
}

/** Offset of the first `(` that is not in a comment. */
function parenthesis(text: string, from: number): number {
  for (const token of tokenizer(text.slice(from), options)) {
    if (token.type === tokTypes.parenL) return from + token.start
  }
  return 0
}
