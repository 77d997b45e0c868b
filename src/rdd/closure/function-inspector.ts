import { Session, type Debugger, type InspectorNotification, type Runtime } from 'node:inspector'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { invariant } from '../../base/index.ts'

/** One scope of the chain that a function closes over, innermost first. Reading a variable gives its value now. */
export interface ClosureScope {
  /** As V8 names it: "Closure (outer)", "Block", "Module", "Script", "Global"… */
  type: string
  variables: object
}

export interface BoundParts {
  target: unknown
  thisArg: unknown
  args: unknown[]
}

export interface InspectedFunction {
  scopes: ClosureScope[]
  bound: BoundParts | undefined
  location: InspectedLocation | undefined
}

export interface InspectedLocation {
  /** URL or pseudo name of the script, '' for code of `new Function`. */
  url: string
  /** From 0, as V8 counts; of the place V8 calls the function's location, not of its first character. */
  line: number
  column: number
}

const GROUP = 'shoal-capture'

/** Hands values from JavaScript to the inspector and back, without a name that a user's code could see. */
interface Exchange {
  given: unknown
  taken: unknown
}

/**
 * Looks into functions of this thread through `node:inspector`, which answers synchronously inside the process. The
 * Runtime domain is never enabled; the Debugger domain only for the moment of reading the list of scripts, since a
 * debugger that stays enabled turns off V8's compilation cache.
 */
class FunctionInspector {
  readonly #session = new Session()
  readonly #exchange: Exchange = { given: undefined, taken: undefined }
  readonly #exchangeId: string
  /** Script id → URL of the scripts alive when last asked. */
  readonly #scripts = new Map<string, string>()

  constructor() {
    this.#session.connect()
    const key = Symbol.for('shoal.closure.exchange')
    Reflect.defineProperty(globalThis, key, { value: this.#exchange, configurable: true })
    const found = this.#post<Runtime.EvaluateReturnType>('Runtime.evaluate', {
      expression: `globalThis[Symbol.for('shoal.closure.exchange')]`,
    })
    Reflect.deleteProperty(globalThis, key)
    this.#exchangeId = objectId(found.result)
    this.#session.on(
      'Debugger.scriptParsed',
      ({ params }: InspectorNotification<Debugger.ScriptParsedEventDataType>) => {
        this.#scripts.set(params.scriptId, params.url)
      },
    )
  }

  inspect(fn: Function): InspectedFunction {
    try {
      const internal = this.#internalProperties(fn)
      const value = (name: string): Runtime.RemoteObject | undefined =>
        internal.find(p => p.name === name)?.value
      const target = value('[[TargetFunction]]')
      const bound =
        target === undefined
          ? undefined
          : {
              target: this.#take(target),
              thisArg: this.#take(value('[[BoundThis]]')),
              args: [...(this.#take(value('[[BoundArgs]]')) as unknown[])],
            }
      return { scopes: this.#scopes(value('[[Scopes]]')), bound, location: this.#location(internal) }
    } finally {
      this.#release()
    }
  }

  /** As of the last time that a function of a script unknown until then was looked at. */
  isLoaded(url: string): boolean {
    for (const known of this.#scripts.values()) if (known === url) return true
    return false
  }

  locate(fn: Function): InspectedLocation | undefined {
    try {
      return this.#location(this.#internalProperties(fn))
    } finally {
      this.#release()
    }
  }

  #internalProperties(fn: Function): Runtime.InternalPropertyDescriptor[] {
    this.#exchange.given = fn
    const remote = this.#post<Runtime.CallFunctionOnReturnType>('Runtime.callFunctionOn', {
      objectId: this.#exchangeId,
      functionDeclaration: 'function () { return this.given }',
      objectGroup: GROUP,
    })
    return this.#properties(objectId(remote.result)).internalProperties ?? []
  }

  #properties(id: string): Runtime.GetPropertiesReturnType {
    return this.#post('Runtime.getProperties', { objectId: id, ownProperties: true })
  }

  #scopes(list: Runtime.RemoteObject | undefined): ClosureScope[] {
    if (list === undefined) return []
    const scopes: ClosureScope[] = []
    for (const { name, value } of this.#properties(objectId(list)).result) {
      if (!/^\d+$/.test(name) || value === undefined) continue
      // What comes over is `{ description, object }`; `object` reads the living variables.
      const scope = this.#take(value) as { object: object }
      scopes.push({ type: value.description ?? '', variables: scope.object })
    }
    return scopes
  }

  #location(internal: Runtime.InternalPropertyDescriptor[]): InspectedLocation | undefined {
    const remote = internal.find(p => p.name === '[[FunctionLocation]]')?.value
    const place = remote?.value as Debugger.Location | undefined
    if (place === undefined) return undefined
    if (!this.#scripts.has(place.scriptId)) this.#readScripts()
    return {
      url: this.#scripts.get(place.scriptId) ?? '',
      line: place.lineNumber,
      column: place.columnNumber ?? 0,
    }
  }

  /** About 4 ms, once for each time that code was loaded since. */
  #readScripts(): void {
    this.#scripts.clear()
    this.#post('Debugger.enable')
    this.#post('Debugger.disable')
  }

  #take(remote: Runtime.RemoteObject | undefined): unknown {
    if (remote === undefined) return undefined
    const argument =
      remote.objectId === undefined
        ? { value: remote.value as unknown, unserializableValue: remote.unserializableValue }
        : { objectId: remote.objectId }
    this.#post('Runtime.callFunctionOn', {
      objectId: this.#exchangeId,
      functionDeclaration: 'function (value) { this.taken = value }',
      arguments: [argument],
    })
    const value = this.#exchange.taken
    this.#exchange.taken = undefined
    return value
  }

  #release(): void {
    this.#exchange.given = undefined
    this.#post('Runtime.releaseObjectGroup', { objectGroup: GROUP })
  }

  #post<Result>(method: string, params?: object): Result {
    let failure: Error | null = null
    let answer: object | undefined
    this.#session.post(method, params, (error, result) => {
      failure = error
      answer = result
    })
    invariant(failure === null && answer !== undefined, `${method} answers at once: ${String(failure)}`)
    return answer as Result
  }
}

function objectId(remote: Runtime.RemoteObject): string {
  invariant(remote.objectId !== undefined, 'an object has an id')
  return remote.objectId
}

let inspector: FunctionInspector | undefined

export function inspectFunction(fn: Function): InspectedFunction {
  inspector ??= new FunctionInspector()
  return inspector.inspect(fn)
}

export function locateFunction(fn: Function): InspectedLocation | undefined {
  inspector ??= new FunctionInspector()
  return inspector.locate(fn)
}

/** Whether the program has code of this file; one that only passes on the exports of others may be said to be not. */
export function isLoaded(file: string): boolean {
  inspector ??= new FunctionInspector()
  return inspector.isLoaded(pathToFileURL(file).href)
}

/** The path of a `file:` URL; other names (REPL1, evalmachine.<anonymous>) as they are. */
export function scriptFile(url: string): string {
  return url.startsWith('file:') ? fileURLToPath(url) : url
}
