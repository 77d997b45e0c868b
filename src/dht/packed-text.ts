/**
 * A string of its own. One that comes out of a decoded message may be a window onto the whole message, which would stay in
 * memory with it.
 */
export function ownText(text: string): string {
  return Buffer.from(text).toString()
}

/** Hexadecimal digits at half the bytes: one character for each two. Only lower case comes back as it was. */
export function packHex(hex: string): string {
  return Buffer.from(hex, 'hex').toString('latin1')
}

export function unpackHex(packed: string): string {
  return Buffer.from(packed, 'latin1').toString('hex')
}
