import { Command } from 'commander'
import { wholeNumber } from '../../settings.ts'
import { on, withHumanSizes } from './action.ts'

/** trash, undelete, expunge, quota, snapshot, setrep, chmod, chown, touch, df. */
export function careCommands(): Command[] {
  return [trash(), undelete(), expunge(), quota(), snapshot(), setrep(), chmod(), chown(), touch(), df()]
}

function trash(): Command {
  const command = new Command('trash').description('What was removed in the last day, and can come back.')
  return on(command, ['shoal fs trash'], async (_args, _options, settings) => {
    const { showTrash } = await import('../../files/trash.ts')
    await showTrash(settings)
  })
}

function undelete(): Command {
  const command = new Command('undelete')
    .description('Bring back what was removed, to where it was.')
    .argument('<path>', 'where it was; also of something in a directory that was removed')
    .option('--to <path>', 'to another place')
  return on(command, ['shoal fs undelete /data/old.csv'], async (args, options, settings) => {
    const { undelete: bringBack } = await import('../../files/trash.ts')
    await bringBack(args[0]!, options, settings)
  })
}

function expunge(): Command {
  const command = new Command('expunge')
    .description('Empty the trash: what is in it goes for good.')
    .option(
      '--older-than <minutes>',
      'only what was removed so long ago',
      wholeNumber('--older-than', 0, 1_000_000),
    )
  return on(
    command,
    ['shoal fs expunge', 'shoal fs expunge --older-than 60'],
    async (_args, options, settings) => {
      const { expunge: empty } = await import('../../files/trash.ts')
      await empty(options, settings)
    },
  )
}

function quota(): Command {
  const command = new Command('quota')
    .description('Show or set how much a directory may hold.')
    .argument('<path>', 'a directory in the mesh')
    .option('--names <n>', 'files and directories, itself included; none lifts the limit')
    .option('--bytes <n>', 'with all copies, such as 10g; none lifts the limit')
  return on(
    command,
    ['shoal fs quota /data --bytes 10g', 'shoal fs quota /data'],
    async (args, options, settings) => {
      const { quota: limit } = await import('../../files/care.ts')
      await limit(args[0]!, options, settings)
    },
  )
}

function snapshot(): Command {
  const command = new Command('snapshot').description(
    'Keep a directory readable as it is now, at DIRECTORY/.snapshot/NAME.',
  )
  const create = new Command('create')
    .description('Make a snapshot.')
    .argument('<directory>', 'in the mesh')
    .argument('[name]', 'default: the time in UTC')
  const list = new Command('list')
    .description('List the snapshots of a directory.')
    .argument('<directory>', 'in the mesh')
  const rename = new Command('rename')
    .description('Give a snapshot another name.')
    .argument('<directory>', 'in the mesh')
    .argument('<name>', 'as it is')
    .argument('<to>', 'as it is to be')
  const remove = new Command('delete')
    .description('Remove a snapshot; the directory stays as it is.')
    .argument('<directory>', 'in the mesh')
    .argument('<name>', 'of the snapshot')
  const all = [
    on(create, ['shoal fs snapshot create /data before-cleaning'], async ([directory, name], _, settings) => {
      const { createSnapshot } = await import('../../files/care.ts')
      await createSnapshot(directory!, name, settings)
    }),
    on(list, ['shoal fs snapshot list /data'], async ([directory], _, settings) => {
      const { listSnapshots } = await import('../../files/care.ts')
      await listSnapshots(directory!, settings)
    }),
    on(rename, ['shoal fs snapshot rename /data before good'], async ([directory, name, to], _, settings) => {
      const { renameSnapshot } = await import('../../files/care.ts')
      await renameSnapshot([directory!, name!, to!], settings)
    }),
    on(remove, ['shoal fs snapshot delete /data before'], async ([directory, name], _, settings) => {
      const { deleteSnapshot } = await import('../../files/care.ts')
      await deleteSnapshot(directory!, name!, settings)
    }),
  ]
  for (const each of all) command.addCommand(each)
  return command
}

function setrep(): Command {
  const command = new Command('setrep')
    .description('Set how many copies of files are wanted; they are made or dropped afterwards.')
    .argument('<copies>', 'from 1 to 16', wholeNumber('<copies>', 1, 16))
    .argument('<path...>', 'in the mesh')
    .option('-R, --recursive', 'all files in directories')
  return on(command, ['shoal fs setrep 2 /data/old.csv'], async ([copies, ...paths], options, settings) => {
    const { setCopies } = await import('../../files/care.ts')
    await setCopies(Number(copies), paths, options, settings)
  })
}

function chmod(): Command {
  const command = new Command('chmod')
    .description('Note a mode. It is kept for people and other systems; nothing enforces it.')
    .argument('<mode>', 'octal, such as 644')
    .argument('<path...>', 'in the mesh')
    .option('-R, --recursive', 'and all below')
  return on(
    command,
    ['shoal fs chmod 640 /data/flights.csv'],
    async ([mode, ...paths], options, settings) => {
      const { modeOf, setAttributes } = await import('../../files/care.ts')
      await setAttributes({ mode: modeOf(mode!) }, paths, options, settings)
    },
  )
}

function chown(): Command {
  const command = new Command('chown')
    .description(
      'Note an owner and a group. They are kept for people and other systems; nothing enforces them.',
    )
    .argument('<owner>', 'OWNER, OWNER:GROUP or :GROUP')
    .argument('<path...>', 'in the mesh')
    .option('-R, --recursive', 'and all below')
  return on(command, ['shoal fs chown ada:staff /data'], async ([owner, ...paths], options, settings) => {
    const { ownerOf, setAttributes } = await import('../../files/care.ts')
    await setAttributes(ownerOf(owner!), paths, options, settings)
  })
}

function touch(): Command {
  const command = new Command('touch')
    .description('Set the time of files to now, or make empty ones.')
    .argument('<path...>', 'in the mesh')
    .option('-c, --no-create', 'make none')
    .option('-t, --time <time>', 'this time, such as 2026-11-22T19:04:05Z')
  return on(command, ['shoal fs touch /data/_SUCCESS'], async (args, { create, ...options }, settings) => {
    const { touch: setTime } = await import('../../files/care.ts')
    await setTime(args, { ...options, noCreate: create === false }, settings)
  })
}

function df(): Command {
  const command = withHumanSizes(
    new Command('df').description('The disks of the peers: size, used by files, and free.'),
  ).option('-b, --bytes', 'sizes in bytes')
  return on(command, ['shoal fs df'], async (_args, options, settings) => {
    const { showDisks } = await import('../../files/care.ts')
    await showDisks(options, settings)
  })
}
