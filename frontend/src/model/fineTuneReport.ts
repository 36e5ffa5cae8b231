// Parts of a fine-tuning result: test prompts by outcome, effects before and after, the training curve.
import type {
  Evaluation,
  FineTuneResult,
  Judged,
  JudgedPrompt,
  Outcome,
  Repatched,
  TrainingCurve,
} from '../api/fineTune';
import { componentName } from './component';
import { cellOf, colourLimit, tableOf, type Cell, type EffectTable, type Shape } from './effects';

export const OUTCOMES: readonly Outcome[] = ['fixed', 'broken', 'right', 'wrong'];

/** The listed prompts with an outcome; null: all. */
export const promptsOf = (prompts: readonly JudgedPrompt[], outcome: Outcome | null): readonly JudgedPrompt[] =>
  outcome === null ? prompts : prompts.filter((each) => each.outcome === outcome);

export interface Pool {
  n: number;
  before: number;
  after: number;
}

/** Several sets pooled: the share of all their questions answered correctly. Null if there are none. */
export function pooled(
  sets: readonly Pick<Judged, 'group' | 'n' | 'before' | 'after'>[],
  group: Judged['group'],
): Pool | null {
  const of = sets.filter((set) => set.group === group);
  const n = of.reduce((sum, set) => sum + set.n, 0);
  if (n === 0) return null;
  const right = (side: 'before' | 'after') => of.reduce((sum, set) => sum + set.n * set[side].mean, 0) / n;
  return { n, before: right('before'), after: right('after') };
}

/** Sets in the order of the table: the trained task, other arithmetic, then controls without arithmetic. */
export function grouped({ held_out, sets }: Evaluation): [group: Judged['group'], sets: Judged[]][] {
  const of = (group: Judged['group']) => sets.filter((set) => set.group === group);
  const groups: [Judged['group'], Judged[]][] = [
    ['held_out', [held_out, ...of('held_out')]],
    ['arithmetic', of('arithmetic')],
    ['control', of('control')],
  ];
  return groups.filter(([, members]) => members.length > 0);
}

export interface Maps {
  before: EffectTable;
  after: EffectTable;
  difference: EffectTable;
}

/** Three maps on one scale: the largest that any of them needs. */
export function mapsOf(
  shape: Shape,
  { before, after, difference }: Pick<Repatched, 'before' | 'after' | 'difference'>,
): Maps {
  const maps = {
    before: tableOf(shape, 'logit_difference', 'noising', before),
    after: tableOf(shape, 'logit_difference', 'noising', after),
    difference: tableOf(shape, 'logit_difference', 'difference', difference),
  };
  const drawn = Object.values(maps).filter((table) => table.ranking.length > 0);
  const locked = Math.max(0, ...drawn.map((table) => colourLimit(table).limit));
  const lock = (table: EffectTable) => ({ ...table, locked: locked || 1 });
  return { before: lock(maps.before), after: lock(maps.after), difference: lock(maps.difference) };
}

export interface EffectChange {
  component: string;
  before: Cell | null;
  after: Cell | null;
  difference: Cell;
}

/** Components by the absolute change of their effect; ties in the order of the model. */
export const largestChanges = ({ before, after, difference }: Maps): EffectChange[] =>
  difference.cells
    .filter(({ mean }) => mean !== null)
    .sort((a, b) => Math.abs(b.mean ?? 0) - Math.abs(a.mean ?? 0))
    .map((cell) => ({
      component: componentName(cell),
      before: cellOf(before, cell),
      after: cellOf(after, cell),
      difference: cell,
    }));

// Notes begin as in engine/tuning/output.py and engine/experiments/fine_tune.py.
const NO_ADAPTER = 'No adapter for PEFT:';
const NOT_JUDGED = 'It could not be evaluated:';

const noteOf = ({ notes }: Pick<FineTuneResult, 'notes'>, beginning: string): string | null =>
  notes?.find((note) => note.startsWith(beginning)) ?? null;

/** Why there is no PEFT adapter; null if there is one. */
export const noAdapter = (result: Pick<FineTuneResult, 'notes'>): string | null => noteOf(result, NO_ADAPTER);

/** Why a finished training was not evaluated; null if no note says so. */
export const notJudged = (result: Pick<FineTuneResult, 'notes'>): string | null => noteOf(result, NOT_JUDGED);

/** The training curve as lines over the same steps. */
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
