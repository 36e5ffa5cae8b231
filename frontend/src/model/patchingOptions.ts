// Patching options (effect, positions, source, direction): their choices, which combinations are valid, their names.
import { CHOICES, EXCLUSIONS, FIELDS } from '../api/vocabulary';
import type { Direction, Effect, Positions, Source, Spec } from '../api/wire';
import { nearest, valuesOf, whyNot, type ChoiceWords, type Exclusion } from './fields';

export interface Options {
  effect: Effect;
  positions: Positions;
  source: Source;
  direction: Direction;
}

const TERMS = FIELDS.path_patching;

export const DEFAULT_OPTIONS: Options = {
  effect: TERMS.effect.default,
  positions: TERMS.positions.default,
  source: TERMS.source.default,
  direction: TERMS.direction.default,
};

const VALUES: { [K in keyof Options]: Readonly<Record<Options[K], ChoiceWords>> } = {
  effect: CHOICES.Effect,
  positions: CHOICES.Positions,
  source: CHOICES.Source,
  direction: CHOICES.Direction,
};
const NAMES = Object.keys(DEFAULT_OPTIONS) as (keyof Options)[];

const labelOf = <K extends keyof Options>(name: K, value: Options[K]): string => VALUES[name][value]?.label ?? value;

/** The options of a spec; defaults where an early version lacks them. */
export const optionsOf = (spec: Pick<Spec, 'effect'> & Partial<Options>): Options => ({
  effect: spec.effect,
  positions: spec.positions ?? DEFAULT_OPTIONS.positions,
  source: spec.source ?? DEFAULT_OPTIONS.source,
  direction: spec.direction ?? DEFAULT_OPTIONS.direction,
});

const ROWS: readonly Exclusion[] = EXCLUSIONS.path_patching;
const facts = (options: Options, alone: boolean) => ({ ...options, several_prompts: !alone });

/** Why this value is impossible with the others; null if it is possible. `alone`: there is only one prompt. */
export const unavailableReason = <K extends keyof Options>(
  options: Options,
  name: K,
  value: Options[K],
  alone: boolean,
): string | null => whyNot(ROWS, TERMS, facts(options, alone), name, value);

/** True for a source that draws from a set of prompts. */
export const needsSet = (source: Source): boolean =>
  unavailableReason(DEFAULT_OPTIONS, 'source', source, true) !== null;

/** The nearest valid options: the effect is kept, and options that do not fit it return to their defaults. */
export const normalised = (options: Options, alone: boolean): Options =>
  optionsOf(nearest(ROWS, TERMS, facts(options, alone)));

const effectName = (effect: Effect): string => {
  const name = labelOf('effect', effect);
  return name.startsWith('through') ? `effect ${name}` : `${name} effect`;
};

/** "total effect, patched at all positions with zero". */
export function patchingSummary({ effect, positions, source, direction }: Options): string {
  const where = `at ${labelOf('positions', positions)}`;
  return direction === 'denoising'
    ? `${effectName(effect)}, restored ${where} in the counterfactual run`
    : `${effectName(effect)}, patched ${where} with ${labelOf('source', source)}`;
}

/**
 * The options other than the effect that differ from their defaults: "all positions, with zero"; empty if none does.
 */
export function nonDefaultSummary({ positions, source, direction }: Options): string {
  const parts = [
    positions === DEFAULT_OPTIONS.positions ? null : labelOf('positions', positions),
    source === DEFAULT_OPTIONS.source ? null : `with ${labelOf('source', source)}`,
    direction === DEFAULT_OPTIONS.direction ? null : labelOf('direction', direction),
  ];
  return parts.filter((part) => part !== null).join(', ');
}

/** For a narrow column: "total, all positions". */
export const shortSummary = (options: Options): string =>
  [labelOf('effect', options.effect), nonDefaultSummary(options)].filter((part) => part !== '').join(', ');

/** Reads the options from an address. An unknown or incompatible value becomes the default, with a notice. */
export function readOptions(search: string): { options: Options; notices: string[] } {
  const query = new URLSearchParams(search);
  const parsed = { ...DEFAULT_OPTIONS };
  const notices: string[] = [];
  const put = <K extends keyof Options>(name: K) => {
    const text = query.get(name);
    if (text === null) return;
    const value = valuesOf<Options[K]>(VALUES[name]).find((each) => each === text);
    if (value !== undefined) parsed[name] = value;
    else notices.push(`Unknown ${name} “${text.slice(0, 24)}”: using “${labelOf(name, parsed[name])}”.`);
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
