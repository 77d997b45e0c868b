const STEPS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** '1.5 MiB'; exact below 1 KiB. */
export function humanBytes(bytes: number): string {
  let value = bytes
  let step = 0
  // 1023.5 KiB would be shown as 1024 KiB.
  while (value >= 1023.5 && step < STEPS.length - 1) {
    value /= 1024
    step++
  }
  return step === 0 ? `${bytes} B` : `${value.toFixed(value < 100 ? 1 : 0)} ${STEPS[step]}`
}

/** '850 ms', '12.3 s', '4 min 05 s', '3 h 12 min', '2 d 4 h'. */
export function humanMs(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`
  const seconds = Math.round(ms / 1_000)
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** '2026-11-22 17:04:05' in local time. */
export function humanTime(epochMs: number): string {
  const at = new Date(epochMs)
  const date = [at.getFullYear(), at.getMonth() + 1, at.getDate()].map(two).join('-')
  return `${date} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':')}`
}

export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}
