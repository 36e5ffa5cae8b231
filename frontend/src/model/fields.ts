// Fields of forms, read by the vocabulary: their defaults, their limits, and which values exclude each other.
import type { CHOICES } from '../api/vocabulary';

/** Words and limits of a field, a row of `FIELDS`. */
export interface Term {
  label: string;
  help: string;
  unit?: string;
  min?: number;
  /** The number that it must exceed, where there is no smallest one. */
  above?: number;
  max?: number;
  integer?: boolean;
  choices?: keyof typeof CHOICES;
  default?: unknown;
}
export type Terms = Readonly<Record<string, Term>>;

/** What a form submits, or the problem that prevents it. */
export type SpecOrProblem<T> = { spec: T; problem: null } | { spec: null; problem: string };
export const no = (problem: string) => ({ spec: null, problem });

/** A value and its words, a row of a table of `CHOICES`. */
export interface ChoiceWords {
  label: string;
  help: string;
  example?: string;
}

/** The values of an option with their words. */
export const choicesOf = <T extends string>(
  table: Readonly<Record<T, ChoiceWords>>,
): readonly (readonly [T, string])[] =>
  (Object.keys(table) as T[]).map((value) => [value, table[value].label] as const);

/** The labels of the values of an option. */
export const labelsOf = <T extends string>(table: Readonly<Record<T, ChoiceWords>>): Record<T, string> =>
  Object.fromEntries(choicesOf(table)) as Record<T, string>;

export const valuesOf = <T extends string>(table: Readonly<Record<T, unknown>>): readonly T[] =>
  Object.keys(table) as T[];

/** A number as its field shows it: 0.0005 is 5e-4, null an empty field. */
export const formatted = (value: number | null): string =>
  value === null ? '' : value !== 0 && Math.abs(value) < 0.01 ? value.toExponential() : String(value);

/**
 * Fields of a draft from those of a spec with the same names; a field that the spec lacks has its default. `numbers` are
 * kept as typed.
 */
export function fieldsOfSpec<S extends object, N extends keyof S & string, O extends keyof S & string>(
  terms: Readonly<Record<NoInfer<N> | NoInfer<O>, { readonly default: unknown }>>,
  spec: S,
  numbers: readonly N[],
  others: readonly O[],
): Record<N, string> & { [K in O]-?: Exclude<S[K], undefined> } {
  const value = (name: N | O): unknown => (spec[name] === undefined ? terms[name].default : spec[name]);
  return Object.fromEntries([
    ...numbers.map((name) => [name, formatted(value(name) as number | null)]),
    ...others.map((name) => [name, value(name)]),
  ]) as Record<N, string> & { [K in O]-?: Exclude<S[K], undefined> };
}

/** The value of a field, or the problem that prevents it. `empty`: an empty field is null. */
export function readNumber(term: Term, text: string, empty = false): number | null | string {
  if (empty && text.trim() === '') return null;
  const whole = term.integer === true;
  const pattern = whole ? /^\s*\d{1,10}\s*$/ : /^\s*\d{0,9}(\d|\.\d{1,12}|\d\.)(e[+-]?\d{1,2})?\s*$/i;
  const value = pattern.test(text) ? Number(text) : NaN;
  const { min = -Infinity, above = -Infinity, max = Infinity } = term;
  if (value >= min && value > above && value <= max) return value;
  const number = (limit: number) => limit.toLocaleString('en');
  const range =
    term.above !== undefined
      ? `greater than ${number(above)}${max < Infinity ? ` and at most ${number(max)}` : ''}`
      : `from ${number(min)} to ${number(max)}`;
  return `${term.label} must be a ${whole ? 'whole ' : ''}number ${range}${empty ? ', or empty' : ''}.`;
}

/** The values of several fields by their names, or the first problem. `empty`: those that may be empty. */
export function readNumbers<N extends string, E extends string = never>(
  terms: Readonly<Record<NoInfer<N> | NoInfer<E>, Term>>,
  texts: Readonly<Record<NoInfer<N> | NoInfer<E>, string>>,
  names: readonly N[],
  empty: readonly E[] = [],
): (Record<N, number> & Record<E, number | null>) | string {
  const values: Record<string, number | null> = {};
  for (const name of [...names, ...empty]) {
    const value = readNumber(terms[name], texts[name], (empty as readonly string[]).includes(name));
    if (typeof value === 'string') return value;
    values[name] = value;
  }
  return values as Record<N, number> & Record<E, number | null>;
}

/** The values that differ from the defaults of their fields. */
export const changed = <V extends object>(terms: Terms, values: V): Partial<V> =>
  Object.fromEntries(
    Object.entries(values).filter(([name, value]) => !equal(value, terms[name]?.default)),
  ) as Partial<V>;

const equal = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Values of an option that need certain values of others, a row of `EXCLUSIONS`; the option gives way. */
export interface Exclusion {
  option: string;
  /** The values; if left out, all but the default. Of a list, any item counts. */
  values?: readonly unknown[];
  needs: Readonly<Record<string, readonly unknown[]>>;
  reason: string;
}
type Options = Readonly<Record<string, unknown>>;

/** True if the row excludes this value of its option; of a list, an item. Needs that are not among the options count as met. */
function excludes({ values, needs }: Exclusion, options: Options, value: unknown, usualValue: unknown): boolean {
  const named = values ? values.some((each) => equal(each, value)) : !equal(value, usualValue);
  return (
    named &&
    Object.entries(needs).some(
      ([name, allowed]) => name in options && !allowed.some((each) => equal(each, options[name])),
    )
  );
}

/** Why a value of an option, or an item of its list, is impossible with the other options; null if it is possible. */
export const whyNot = (
  rows: readonly Exclusion[],
  terms: Terms,
  options: Options,
  name: string,
  value: unknown,
): string | null =>
  rows.find((row) => row.option === name && excludes(row, options, value, terms[name]?.default))?.reason ?? null;

/** The nearest possible options: those that others exclude return to their defaults; lists lose the excluded items. */
export function nearest<O extends object>(rows: readonly Exclusion[], terms: Terms, options: O): O {
  let found = { ...options } as Options;
  for (const { option } of rows) {
    if (!(option in found)) continue;
    const value = found[option];
    const no = (each: unknown) => whyNot(rows, terms, found, option, each) !== null;
    const left = Array.isArray(value) ? value.filter((item) => !no(item)) : no(value) ? [] : [value];
    if (Array.isArray(value) ? left.length === value.length : left.length === 1) continue;
    found = { ...found, [option]: Array.isArray(value) && left.length > 0 ? left : terms[option]?.default };
  }
  return found as O;
}
