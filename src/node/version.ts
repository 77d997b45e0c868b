import { createRequire } from 'node:module'

/** Of the program, as package.json says. */
export const VERSION = (createRequire(import.meta.url)('../../package.json') as { version: string }).version
