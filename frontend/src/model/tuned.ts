// What came of a fine-tuning, as the page shows it: prompts by what became of them, effects before and after.
import type { Evaluation, Judged, JudgedPrompt, Outcome, Repatched, TrainingCurve } from '../api/tuned';
import { spell } from './component';
import { cellOf, colourLimit, tableOf, type Cell, type EffectTable, type Shape } from './effects';

export const OUTCOMES: readonly Outcome[] = ['fixed', 'broken', 'right', 'wrong'];

/** The listed prompts of an outcome; null: all. */
export const promptsOf = (prompts: readonly JudgedPrompt[], outcome: Outcome | null): readonly JudgedPrompt[] =>
  outcome === null ? prompts : prompts.filter((each) => each.outcome === outcome);

export interface Pool {
  n: number;
  before: number;
  after: number;
}

/** Several sets as one: the share of all their questions that is answered right. Null where there are none. */
export function pooled(sets: readonly Pick<Judged, 'group' | 'n' | 'before' | 'after'>[], group: Judged['group']): Pool | null {
  const of = sets.filter((set) => set.group === group);
  const n = of.reduce((sum, set) => sum + set.n, 0);
  if (n === 0) return null;
  const right = (side: 'before' | 'after') => of.reduce((sum, set) => sum + set.n * set[side].mean, 0) / n;
  return { n, before: right('before'), after: right('after') };
}

/** Sets in the order of the table: those trained for, other sums, then what has no arithmetic in it. */
export const grouped = ({ held_out, sets }: Evaluation): readonly (readonly [group: Judged['group'], sets: readonly Judged[]])[] =>
  (['held_out', 'arithmetic', 'control'] as const)
    .map((group) => [group, [...(group === 'held_out' ? [held_out] : []), ...sets.filter((set) => set.group === group)]] as const)
    .filter(([, of]) => of.length > 0);

export interface Maps {
  before: EffectTable;
  after: EffectTable;
  difference: EffectTable;
}

/** Three maps on one scale: the largest that any of them would have. */
export function mapsOf(shape: Shape, { before, after, difference }: Pick<Repatched, 'before' | 'after' | 'difference'>): Maps {
  const maps = {
    before: tableOf(shape, 'logit_difference', 'noising', before),
    after: tableOf(shape, 'logit_difference', 'noising', after),
    difference: tableOf(shape, 'logit_difference', 'difference', difference),
  };
  const locked = Math.max(...Object.values(maps).map((table) => (table.ranking.length > 0 ? colourLimit(table).limit : 0)));
  const lock = (table: EffectTable) => ({ ...table, locked: locked || 1 });
  return { before: lock(maps.before), after: lock(maps.after), difference: lock(maps.difference) };
}

export interface Moved {
  component: string;
  before: Cell | null;
  after: Cell | null;
  difference: Cell;
}

/** Components by how far their effect moved, whichever way; ties in the order of the model. */
export const movedMost = ({ before, after, difference }: Maps): Moved[] =>
  difference.cells
    .filter(({ mean }) => mean !== null)
    .sort((a, b) => Math.abs(b.mean ?? 0) - Math.abs(a.mean ?? 0))
    .map((cell) => ({ component: spell(cell), before: cellOf(before, cell), after: cellOf(after, cell), difference: cell }));

/** The curve as lines that share their places: steps, and what was validated after them. */
export function curveRows({ steps, losses, validation }: TrainingCurve): {
  x: number[];
  loss: (number | null)[];
  validated: (number | null)[];
  accuracy: (number | null)[];
} {
  const x = [...new Set([...steps, ...validation.map(({ step }) => step)])].sort((a, b) => a - b);
  const loss = new Map(steps.map((step, i) => [step, losses[i] ?? null]));
  const seen = new Map(validation.map((each) => [each.step, each]));
  return {
    x,
    loss: x.map((step) => loss.get(step) ?? null),
    validated: x.map((step) => seen.get(step)?.loss ?? null),
    accuracy: x.map((step) => seen.get(step)?.accuracy ?? null),
  };
}
