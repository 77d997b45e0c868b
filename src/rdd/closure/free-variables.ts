import type { AnyNode, Class, Function as FunctionLike, Pattern } from 'acorn'

/** How a function uses a variable that it does not declare. */
export interface VariableUse {
  /** Properties read by name, as in `lib.tax(x)`. */
  members: Set<string>
  /** Used other than by `.member`. */
  whole: boolean
  assigned: boolean
  /** Stands only under typeof, where a name that does not exist is no error. */
  typeofOnly: boolean
  /** Read while the class is being defined, not only when something is called. */
  early: boolean
}

export interface FreeVariables {
  /** In the order of their first use. */
  uses: Map<string, VariableUse>
  /** What the text does that cannot be shipped: `this` of the enclosing function, eval… First one wins. */
  obstacle: Obstacle | undefined
  dynamicImports: DynamicImport[]
}

export interface DynamicImport {
  /** undefined when it is computed. */
  specifier: string | undefined
  /** Offset of the word `import` in the text. */
  start: number
}

export type Obstacle = 'this' | 'super' | 'eval' | 'import.meta' | 'new.target' | 'arguments' | 'private'

interface Scope {
  names: Set<string>
  parent: Scope | undefined
}

interface Context {
  scope: Scope | undefined
  /** `this` (and new.target) belongs to a function inside the text. */
  ownThis: boolean
  ownArguments: boolean
  ownSuper: boolean
  inFunction: boolean
  privates: ReadonlySet<string>
}

/** Analyses one function or class expression, or the method of an object literal with one property. */
export function freeVariables(root: AnyNode): FreeVariables {
  const walker = new Walker()
  const context: Context = {
    scope: undefined,
    ownThis: false,
    ownArguments: false,
    ownSuper: false,
    inFunction: false,
    privates: new Set(),
  }
  if (root.type === 'Property') walker.walk(root.value, context)
  else walker.walk(root, context)
  return walker.result
}

class Walker {
  readonly result: FreeVariables = { uses: new Map(), obstacle: undefined, dynamicImports: [] }

  walk(node: AnyNode | null | undefined, context: Context): void {
    if (node === null || node === undefined) return
    // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- all other kinds are walked alike
    switch (node.type) {
      case 'Identifier':
        this.#use(node.name, context).whole = true
        return
      case 'MemberExpression':
        this.#walkMember(node.object, node.computed ? undefined : node.property, context)
        if (node.computed || node.property.type === 'PrivateIdentifier') this.walk(node.property, context)
        return
      case 'PrivateIdentifier':
        if (!context.privates.has(node.name)) this.#obstacle('private')
        return
      case 'UnaryExpression':
        if (node.operator === 'typeof' && node.argument.type === 'Identifier') {
          this.#use(node.argument.name, context, true)
          return
        }
        break
      case 'ThisExpression':
        if (!context.ownThis) this.#obstacle('this')
        return
      case 'Super':
        if (!context.ownSuper) this.#obstacle('super')
        return
      case 'MetaProperty':
        if (node.meta.name === 'import') this.#obstacle('import.meta')
        else if (!context.ownThis) this.#obstacle('new.target')
        return
      case 'ImportExpression':
        this.result.dynamicImports.push({
          specifier:
            node.source.type === 'Literal' && typeof node.source.value === 'string'
              ? node.source.value
              : undefined,
          start: node.start,
        })
        break
      case 'CallExpression':
        if (node.callee.type === 'Identifier' && node.callee.name === 'eval') {
          if (lookup('eval', context.scope) === undefined) this.#obstacle('eval')
        }
        break
      case 'AssignmentExpression':
        this.#assign(node.left, context)
        break
      case 'UpdateExpression':
        if (node.argument.type === 'Identifier') this.#assign(node.argument, context)
        break
      case 'Property':
        if (node.computed) this.walk(node.key, context)
        this.walk(node.value, node.method || node.kind !== 'init' ? { ...context, ownSuper: true } : context)
        return
      case 'VariableDeclarator':
        this.#walkPattern(node.id, context)
        this.walk(node.init, context)
        return
      case 'FunctionExpression':
      case 'FunctionDeclaration':
      case 'ArrowFunctionExpression':
        this.#walkFunction(node, context)
        return
      case 'ClassExpression':
      case 'ClassDeclaration':
        this.#walkClass(node, context)
        return
      case 'BlockStatement': {
        const scope = open(context.scope)
        declareLexical(node.body, scope)
        for (const statement of node.body) this.walk(statement, { ...context, scope })
        return
      }
      case 'ForStatement':
      case 'ForInStatement':
      case 'ForOfStatement': {
        const scope = open(context.scope)
        const head = node.type === 'ForStatement' ? node.init : node.left
        if (head?.type === 'VariableDeclaration') declareLexical([head], scope)
        else if (head !== null && head !== undefined && node.type !== 'ForStatement')
          this.#assign(head, context)
        this.#walkChildren(node, { ...context, scope })
        return
      }
      case 'SwitchStatement': {
        this.walk(node.discriminant, context)
        const scope = open(context.scope)
        for (const branch of node.cases) declareLexical(branch.consequent, scope)
        for (const branch of node.cases) this.walk(branch, { ...context, scope })
        return
      }
      case 'CatchClause': {
        const scope = open(context.scope)
        if (node.param) declarePattern(node.param, scope)
        this.#walkPattern(node.param, { ...context, scope })
        this.walk(node.body, { ...context, scope })
        return
      }
      case 'LabeledStatement':
        this.walk(node.body, context)
        return
      case 'BreakStatement':
      case 'ContinueStatement':
        return
      default:
        break
    }
    this.#walkChildren(node, context)
  }

  #walkChildren(node: AnyNode, context: Context): void {
    for (const child of Object.values(node)) {
      if (Array.isArray(child)) {
        for (const item of child) if (isNode(item)) this.walk(item, context)
      } else if (isNode(child)) this.walk(child, context)
    }
  }

  #walkMember(object: AnyNode, property: AnyNode | undefined, context: Context): void {
    if (object.type === 'Identifier' && property?.type === 'Identifier') {
      this.#use(object.name, context).members.add(property.name)
    } else this.walk(object, context)
  }

  #walkFunction(node: FunctionLike | AnyNode, context: Context): void {
    if (!('params' in node) || !('body' in node)) return
    const scope = open(context.scope)
    if (node.type === 'FunctionExpression' && node.id) scope.names.add(node.id.name)
    for (const parameter of node.params) declarePattern(parameter, scope)
    const arrow = node.type === 'ArrowFunctionExpression'
    const inner: Context = {
      ...context,
      scope,
      inFunction: true,
      ownThis: context.ownThis || !arrow,
      ownArguments: context.ownArguments || !arrow,
    }
    for (const parameter of node.params) this.#walkPattern(parameter, inner)
    if (node.body.type !== 'BlockStatement') {
      this.walk(node.body, inner)
      return
    }
    declareVars(node.body, scope)
    declareLexical(node.body.body, scope)
    for (const statement of node.body.body) this.walk(statement, inner)
  }

  #walkClass(node: Class, context: Context): void {
    const scope = open(context.scope)
    if (node.id) scope.names.add(node.id.name)
    const privates = new Set(context.privates)
    for (const member of node.body.body) {
      if (member.type !== 'StaticBlock' && member.key.type === 'PrivateIdentifier')
        privates.add(member.key.name)
    }
    const outer: Context = { ...context, scope, privates }
    this.walk(node.superClass, outer)
    for (const member of node.body.body) {
      const inner: Context = { ...outer, ownThis: true, ownSuper: true, ownArguments: false }
      if (member.type === 'StaticBlock') {
        const blockScope = open(scope)
        declareVars(member, blockScope)
        declareLexical(member.body, blockScope)
        for (const statement of member.body) this.walk(statement, { ...inner, scope: blockScope })
        continue
      }
      if (member.computed) this.walk(member.key, outer)
      // An initialiser of an instance field runs when an instance is made, not when the class is.
      if (member.type === 'PropertyDefinition') {
        this.walk(member.value, { ...inner, inFunction: context.inFunction || !member.static })
      } else this.walk(member.value, inner)
    }
  }

  /** Defaults and computed keys of a binding pattern; its names are declared already. */
  #walkPattern(pattern: Pattern | null | undefined, context: Context): void {
    if (pattern?.type === 'AssignmentPattern') {
      this.walk(pattern.right, context)
      this.#walkPattern(pattern.left, context)
    } else if (pattern?.type === 'ArrayPattern') {
      for (const element of pattern.elements) this.#walkPattern(element, context)
    } else if (pattern?.type === 'RestElement') {
      this.#walkPattern(pattern.argument, context)
    } else if (pattern?.type === 'ObjectPattern') {
      for (const property of pattern.properties) {
        if (property.type === 'Property' && property.computed) this.walk(property.key, context)
        this.#walkPattern(property.type === 'RestElement' ? property : property.value, context)
      }
    }
  }

  #assign(target: AnyNode, context: Context): void {
    for (const name of boundNames(target)) {
      if (lookup(name, context.scope) !== undefined) continue
      const use = this.#use(name, context)
      use.assigned = true
      use.whole = true
    }
  }

  #use(name: string, context: Context, underTypeof = false): VariableUse {
    const none: VariableUse = {
      members: new Set(),
      whole: false,
      assigned: false,
      typeofOnly: true,
      early: false,
    }
    if (lookup(name, context.scope) !== undefined) return none
    if (name === 'arguments') {
      if (!context.ownArguments) this.#obstacle('arguments')
      return none
    }
    const use = this.result.uses.get(name) ?? none
    this.result.uses.set(name, use)
    if (!underTypeof) use.typeofOnly = false
    else use.whole = true
    if (!context.inFunction) use.early = true
    return use
  }

  #obstacle(obstacle: Obstacle): void {
    this.result.obstacle ??= obstacle
  }
}

function open(parent: Scope | undefined): Scope {
  return { names: new Set(), parent }
}

function lookup(name: string, from: Scope | undefined): Scope | undefined {
  let scope = from
  while (scope !== undefined && !scope.names.has(name)) scope = scope.parent
  return scope
}

function isNode(value: unknown): value is AnyNode {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
}

/** Names that a pattern binds or assigns; members (`a.b = 1`) bind none. */
function boundNames(pattern: AnyNode | null): string[] {
  if (pattern?.type === 'Identifier') return [pattern.name]
  if (pattern?.type === 'AssignmentPattern') return boundNames(pattern.left)
  if (pattern?.type === 'RestElement') return boundNames(pattern.argument)
  if (pattern?.type === 'ArrayPattern') return pattern.elements.flatMap(boundNames)
  if (pattern?.type !== 'ObjectPattern') return []
  return pattern.properties.flatMap(p => boundNames(p.type === 'RestElement' ? p.argument : p.value))
}

function declarePattern(pattern: Pattern, scope: Scope): void {
  for (const name of boundNames(pattern)) scope.names.add(name)
}

/** let, const, class and (strict mode) function declarations of one block. */
function declareLexical(statements: readonly AnyNode[], scope: Scope): void {
  for (const statement of statements) {
    if (statement.type === 'VariableDeclaration' && statement.kind !== 'var') {
      for (const declarator of statement.declarations) declarePattern(declarator.id, scope)
    }
    const named = statement.type === 'FunctionDeclaration' || statement.type === 'ClassDeclaration'
    if (named && statement.id) scope.names.add(statement.id.name)
  }
}

/** Every `var` below a node, not looking into functions and classes. */
function declareVars(node: AnyNode, scope: Scope): void {
  if (node.type === 'VariableDeclaration' && node.kind === 'var') {
    for (const declarator of node.declarations) declarePattern(declarator.id, scope)
  }
  for (const child of Object.values(node)) {
    for (const item of Array.isArray(child) ? child : [child]) {
      if (isNode(item) && !/Function|Class/.test(item.type)) declareVars(item, scope)
    }
  }
}
