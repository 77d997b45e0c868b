import { functionLocation } from './function-location.ts'
import { functionSource } from './function-source.ts'
import { refusal } from './refusal.ts'
import { isNativeText, textOf } from './value-shape.ts'

/**
 * Whether an instance can be made of its class's prototype and its own fields alone.
 * @throws CLOSURE_REFUSED for what is no class, keeps #private state, or extends a class with state inside the engine
 */
export function instancesCanTravel(type: Function): void {
  const site = { operator: 'registerClass', location: functionLocation(type) }
  const prototype: unknown = type.prototype
  if (typeof prototype !== 'object' || prototype === null) throw refusal(site, '', 'it is no class')
  for (
    let at: unknown = type;
    typeof at === 'function' && at !== Function.prototype;
    at = Object.getPrototypeOf(at)
  ) {
    const text = textOf(at)
    if (isNativeText(text)) {
      const reason = `instances of ${type.name} have state inside the engine, being a kind of ${at.name}; use an ordinary class with a field for it`
      throw refusal(site, '', reason)
    }
    if (text.startsWith('class') && functionSource(text).privateInstances) {
      const reason = `instances of ${at.name} have #private state, which cannot be read; use fields with names`
      throw refusal(site, '', reason)
    }
  }
}
