import type { Settings } from '../settings.ts'
export async function runRepl(_settings: Settings): Promise<void> {}
