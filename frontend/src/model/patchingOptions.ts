// Patching options (effect, positions, source, direction): their choices, which combinations are valid, their names.
import type { Direction, Effect, Positions, Source, Spec } from '../api/wire';

export interface Options {
  effect: Effect;
  positions: Positions;
  source: Source;
  direction: Direction;
}

export const DEFAULT_OPTIONS: Options = {
  effect: 'through_mlps',
  positions: 'end',
  source: 'counterfactual',
  direction: 'noising',
};

/** A choice: its value, its name, and a one-line description. */
export type Choice<T> = readonly [value: T, name: string, description: string];

export const EFFECTS: readonly Choice<Effect>[] = [
  ['direct', 'direct', 'its direct path to the output; everything after it is frozen'],
  ['through_mlps', 'through later MLPs', 'its direct path and those through later MLPs; later heads are frozen'],
  ['total', 'total', 'every path, through later heads too; the slowest'],
];

export const POSITIONS: readonly Choice<Positions>[] = [
  ['end', 'the last position', 'where the answer is read'],
  ['all', 'all positions', 'every token'],
];

export const SOURCES: readonly Choice<Source>[] = [
  ['counterfactual', 'the counterfactual', 'the same prompt without the calculation'],
  ['zero', 'zero', 'its output is set to zero'],
  ['mean', 'the mean', 'its mean output over the set'],
  ['resample', 'another prompt', 'drawn at random from the set'],
];

export const DIRECTIONS: readonly Choice<Direction>[] = [
  ['noising', 'noising', 'corrupt the component in the reference run'],
  ['denoising', 'denoising', 'restore the component in the counterfactual run'],
];

const VALUES: { [K in keyof Options]: readonly Choice<Options[K]>[] } = {
  effect: EFFECTS,
  positions: POSITIONS,
  source: SOURCES,
  direction: DIRECTIONS,
};
const NAMES = Object.keys(DEFAULT_OPTIONS) as (keyof Options)[];

const nameOf = <T>(choices: readonly Choice<T>[], value: T): string =>
  choices.find(([each]) => each === value)?.[1] ?? String(value);

/** The options of a spec; defaults where an early version lacks them. */
export const optionsOf = (spec: Pick<Spec, 'effect'> & Partial<Options>): Options => ({
  effect: spec.effect,
  positions: spec.positions ?? DEFAULT_OPTIONS.positions,
  source: spec.source ?? DEFAULT_OPTIONS.source,
  direction: spec.direction ?? DEFAULT_OPTIONS.direction,
});

const FROM_A_SET: readonly Source[] = ['mean', 'resample'];

/** True for a source that draws from a set of prompts. */
export const needsSet = (source: Source): boolean => FROM_A_SET.includes(source);

/**
 * Why these options are incompatible; null if they are not. `alone`: there is only one prompt. As in contracts/kinds/path_patching.
 */
function conflict({ effect, positions, source, direction }: Options, alone: boolean): string | null {
  if (positions === 'all' && effect !== 'total') return 'needs the total effect';
  if (direction === 'denoising' && source !== 'counterfactual') return 'denoising needs the counterfactual';
  if (alone && needsSet(source)) return 'needs a set of prompts';
  return null;
}

/** Why this value is incompatible with the others; null if it is not. An effect never is: the others adapt to it. */
export function unavailableReason<K extends keyof Options>(
  options: Options,
  name: K,
  value: Options[K],
  alone: boolean,
): string | null {
  return name === 'effect' ? null : conflict({ ...options, [name]: value }, alone);
}

/** The nearest valid options: the effect is kept, and options that do not fit it return to their defaults. */
export function normalised(options: Options, alone: boolean): Options {
  let nearest = options;
  for (const name of ['positions', 'direction', 'source'] as const) {
    if (conflict(nearest, alone) !== null) nearest = { ...nearest, [name]: DEFAULT_OPTIONS[name] };
  }
  return nearest;
}

const EFFECT_DONE: Record<Effect, string> = {
  direct: 'direct effect',
  through_mlps: 'effect through later MLPs',
  total: 'total effect',
};

/** "total effect, patched at all positions with zero". */
export function patchingSummary({ effect, positions, source, direction }: Options): string {
  const where = `at ${nameOf(POSITIONS, positions)}`;
  return direction === 'denoising'
    ? `${EFFECT_DONE[effect]}, restored ${where} in the counterfactual run`
    : `${EFFECT_DONE[effect]}, patched ${where} with ${nameOf(SOURCES, source)}`;
}

/**
 * The options other than the effect that differ from their defaults: "all positions, with zero"; empty if none does.
 */
export function nonDefaultSummary({ positions, source, direction }: Options): string {
  const parts = [
    positions === 'end' ? null : nameOf(POSITIONS, positions),
    source === 'counterfactual' ? null : `with ${nameOf(SOURCES, source)}`,
    direction === 'noising' ? null : 'denoising',
  ];
  return parts.filter((part) => part !== null).join(', ');
}

/** For a narrow column: "total, all positions". */
export const shortSummary = (options: Options): string =>
  [nameOf(EFFECTS, options.effect), nonDefaultSummary(options)].filter((part) => part !== '').join(', ');

/** Reads the options from an address. An unknown or incompatible value becomes the default, with a notice. */
export function readOptions(search: string): { options: Options; notices: string[] } {
  const query = new URLSearchParams(search);
  const parsed = { ...DEFAULT_OPTIONS };
  const notices: string[] = [];
  const put = <K extends keyof Options>(name: K) => {
    const text = query.get(name);
    if (text === null) return;
    const value = VALUES[name].find(([each]) => each === text)?.[0];
    if (value !== undefined) parsed[name] = value;
    else notices.push(`Unknown ${name} “${text.slice(0, 24)}”: using “${nameOf(VALUES[name], parsed[name])}”.`);
  };
  NAMES.forEach(put);
  const options = normalised(parsed, false);
  if (NAMES.some((name) => options[name] !== parsed[name]))
    notices.push('The options in the address are incompatible: using the nearest valid combination.');
  return { options, notices };
}

/** `search` with these options; defaults are left out. Unknown parameters stay. */
export function writeOptions(search: string, options: Options): string {
  const query = new URLSearchParams(search);
  for (const name of NAMES) {
    if (options[name] === DEFAULT_OPTIONS[name]) query.delete(name);
    else query.set(name, options[name]);
  }
  const text = query.toString();
  return text ? `?${text}` : '';
}

/** Reads `chat=1`: whether the prompt goes through the chat template. */
export function readChat(search: string): { chat: boolean; notices: string[] } {
  const text = new URLSearchParams(search).get('chat');
  const valid = text === null || text === '0' || text === '1';
  return {
    chat: text === '1',
    notices: valid ? [] : [`Unknown value “${text.slice(0, 24)}” for chat: the chat template is off.`],
  };
}

/** `search` with the chat template on, or off, which is left out. */
export function writeChat(search: string, chat: boolean): string {
  const query = new URLSearchParams(search);
  if (chat) query.set('chat', '1');
  else query.delete('chat');
  const text = query.toString();
  return text ? `?${text}` : '';
}
