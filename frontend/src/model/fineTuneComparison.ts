// Comparison of fine-tunings that differ only in tuner and seed.
import type { FineTuneResult } from '../api/fineTune';
import { FIELDS } from '../api/vocabulary';
import type { Experiment, FineTuneSpec, Tuner } from '../api/wire';
import { CONTROLS, TUNERS } from '../text/fineTune';
import { pooled, type Pool } from './fineTuneReport';

/** Key of what must be equal: everything but the tuner, the seed and the parent. */
export function comparisonKey(spec: FineTuneSpec): string {
  const { tuner: _tuner, seed: _seed, parent: _parent, ...rest } = spec;
  return JSON.stringify(ordered(rest));
}

/** Sorts keys and drops empty ones, so that equal specs serialise equally. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, each]) => each !== null && each !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, each]) => [name, ordered(each)]),
  );
}

export const tunerOf = (spec: FineTuneSpec): Tuner => spec.tuner ?? FIELDS.fine_tune.tuner.default;
export const seedOf = (spec: FineTuneSpec): number => spec.seed ?? FIELDS.fine_tune.seed.default;

type Row = Omit<Experiment, 'spec'> & { spec: FineTuneSpec };
const fineTunings = (all: readonly Experiment[]): Row[] =>
  all.flatMap((row) => (row.kind === 'fine_tune' ? [row as Row] : []));

/**
 * Runs comparable with `spec`, by tuner and then seed. Of duplicates the one in the best state, and of those the
 * newest.
 */
export function relatedRuns(all: readonly Experiment[], spec: FineTuneSpec): Row[] {
  const target = comparisonKey(spec);
  const best = new Map<string, Row>();
  const stateOrder = ({ state }: Row) => ['succeeded', 'running', 'queued', 'failed', 'cancelled'].indexOf(state);
  for (const row of fineTunings(all)) {
    if (comparisonKey(row.spec) !== target) continue;
    const key = `${tunerOf(row.spec)} ${seedOf(row.spec)}`;
    const other = best.get(key);
    if (!other || stateOrder(row) < stateOrder(other)) best.set(key, row);
  }
  return [...best.values()].sort(
    (a, b) => TUNERS.indexOf(tunerOf(a.spec)) - TUNERS.indexOf(tunerOf(b.spec)) || seedOf(a.spec) - seedOf(b.spec),
  );
}

/** Specs that could still be run for this seed: each control, and the precise one. */
export const missingControls = (rows: readonly { spec: FineTuneSpec }[], spec: FineTuneSpec): FineTuneSpec[] =>
  (['precise', ...CONTROLS] as const)
    .filter((tuner) => !rows.some((row) => tunerOf(row.spec) === tuner && seedOf(row.spec) === seedOf(spec)))
    // Random components and LoRA are matched in size to the chosen components, so they need a choice.
    .filter((tuner) => tuner === 'full' || (spec.components ?? []).length > 0)
    .map((tuner) => ({ ...spec, tuner }));

/** The smallest seed above all that were used. */
export const nextSeed = (rows: readonly { spec: FineTuneSpec }[]): number =>
  1 + Math.max(-1, ...rows.map((row) => seedOf(row.spec)));

export interface ComparisonRow {
  share: number;
  heldOut: Pool | null;
  arithmetic: Pool | null;
  controls: Pool | null;
  perplexity: number | null;
  divergence: number | null;
  secondsPerStep: number | null;
  bytes: number;
}

export function comparisonRow({ tunable, evaluation, seconds_per_step, deltas_bytes }: FineTuneResult): ComparisonRow {
  const held = evaluation?.held_out ?? null;
  return {
    share: tunable.share,
    heldOut: held && { n: held.n, before: held.before.mean, after: held.after.mean },
    arithmetic: evaluation && pooled(evaluation.sets, 'arithmetic'),
    controls: evaluation && pooled(evaluation.sets, 'control'),
    perplexity: evaluation?.neutral.ratio.mean ?? null,
    divergence: evaluation?.neutral.divergence.mean ?? null,
    secondsPerStep: seconds_per_step,
    bytes: deltas_bytes,
  };
}

/** Mean over several seeds of each number that all of them have. */
export function meanRow(all: readonly ComparisonRow[]): ComparisonRow {
  const [first] = all;
  if (!first) throw new Error('a mean of nothing');
  const over = (read: (each: ComparisonRow) => number | null): number | null => {
    const values = all.map(read);
    return values.includes(null) ? null : values.reduce<number>((sum, value) => sum + (value ?? 0), 0) / all.length;
  };
  const pool = (read: (each: ComparisonRow) => Pool | null): Pool | null => {
    const [before, after] = [over((each) => read(each)?.before ?? null), over((each) => read(each)?.after ?? null)];
    return before === null || after === null ? null : { n: read(first)?.n ?? 0, before, after };
  };
  return {
    share: over(({ share }) => share) ?? first.share,
    heldOut: pool(({ heldOut }) => heldOut),
    arithmetic: pool(({ arithmetic }) => arithmetic),
    controls: pool(({ controls }) => controls),
    perplexity: over(({ perplexity }) => perplexity),
    divergence: over(({ divergence }) => divergence),
    secondsPerStep: over(({ secondsPerStep }) => secondsPerStep),
    bytes: over(({ bytes }) => bytes) ?? first.bytes,
  };
}
