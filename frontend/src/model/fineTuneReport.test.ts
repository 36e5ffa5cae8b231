import { describe, expect, it } from 'vitest';
import type { Evaluation, FineTuneResult, Judged, Repatched } from '../api/fineTune';
import type { Experiment, FineTuneSpec, Tuner } from '../api/wire';
import {
  comparisonRow,
  relatedRuns,
  comparisonKey,
  meanRow,
  missingControls,
  nextSeed,
  seedOf,
  tunerOf,
} from './fineTuneComparison';
import { colourLimit } from './effects';
import { curveRows, grouped, mapsOf, largestChanges, noAdapter, notJudged, pooled, promptsOf } from './fineTuneReport';

const at = (mean: number) => ({ mean, low: null, high: null });
const judged = (name: string, group: Judged['group'], n: number, before: number, after: number) =>
  ({ name, group, n, before: at(before), after: at(after) }) as Judged;

describe('evaluated prompt sets', () => {
  const sets = [
    judged('one digit', 'arithmetic', 10, 0.5, 1),
    judged('counting', 'arithmetic', 30, 0.1, 0.2),
    judged('facts', 'control', 4, 1, 1),
  ];
  it('are pooled over prompts, not over sets', () => {
    const pool = pooled(sets, 'arithmetic');
    expect(pool?.n).toBe(40);
    expect(pool?.before).toBeCloseTo((5 + 3) / 40);
    expect(pool?.after).toBeCloseTo((10 + 6) / 40);
    expect(pooled(sets, 'held_out')).toBeNull();
  });
  it('are grouped: held-out prompts first as one entry, no empty group', () => {
    const evaluation = {
      held_out: judged('all', 'held_out', 9, 0, 1),
      sets: [...sets].reverse(),
    } as unknown as Evaluation;
    expect(grouped(evaluation).map(([group, of]) => [group, of.map(({ name }) => name)])).toEqual([
      ['held_out', ['all']],
      ['arithmetic', ['counting', 'one digit']],
      ['control', ['facts']],
    ]);
    expect(grouped({ ...evaluation, sets: [] }).map(([group]) => group)).toEqual(['held_out']);
  });
  it('are filtered by outcome', () => {
    const prompts = [{ outcome: 'fixed' }, { outcome: 'wrong' }] as Evaluation['prompts'];
    expect(promptsOf(prompts, 'fixed')).toHaveLength(1);
    expect(promptsOf(prompts, 'broken')).toHaveLength(0);
    expect(promptsOf(prompts, null)).toHaveLength(2);
  });
});

const metric = (heads: (number | null)[][], mlps: number[][]) => {
  const effects = (mean: (number | null)[][]) => ({ mean, std: mean, ci_low: mean, ci_high: mean });
  return { unit: 'logits', n_pairs: 3, left_out: 0, heads: effects(heads), mlps: effects(mlps) };
};

describe('effects before and after', () => {
  const repatched = {
    before: metric([[-1, 2]], [[0]]),
    after: metric([[-4, 2]], [[1]]),
    difference: metric([[-3, null]], [[1]]),
  } as unknown as Repatched;
  const maps = mapsOf({ layers: 1, heads: 2, kv_heads: 2 }, repatched);
  it('share one colour scale, the largest of the three', () => {
    expect(Object.values(maps).map((table) => colourLimit(table).limit)).toEqual([4, 4, 4]);
  });
  it('rank components by absolute change and leave out components without a value', () => {
    expect(largestChanges(maps).map(({ component, difference }) => [component, difference.mean])).toEqual([
      ['L0H0', -3],
      ['MLP0', 1],
    ]);
    expect(largestChanges(maps)[0]).toMatchObject({ before: { mean: -1 }, after: { mean: -4 } });
  });
  it('have a valid colour scale if all effects are 0', () => {
    const none = metric([[0, 0]], [[0]]) as unknown as Repatched['before'];
    const still = mapsOf({ layers: 1, heads: 2, kv_heads: 2 }, { before: none, after: none, difference: none });
    expect(colourLimit(still.after)).toEqual({ limit: 1, beyond: 0 });
  });
});

it('finds the notes that explain a missing adapter or a missing evaluation', () => {
  const notes = [
    'Something.',
    'No adapter for PEFT: What changed has no low rank.',
    'It could not be evaluated: memory ran out.',
  ];
  expect(noAdapter({ notes })).toBe(notes[1]);
  expect(notJudged({ notes })).toBe(notes[2]);
  expect([noAdapter({ notes: [] }), notJudged({ notes: [] })]).toEqual([null, null]);
});

it('merges training steps and validations into one curve', () => {
  const rows = curveRows({
    steps: [1, 2, 4],
    losses: [3, 2, 1],
    validation: [
      { step: 0, accuracy: 0.1, loss: 4 },
      { step: 4, accuracy: 0.5, loss: 1.5 },
    ],
  });
  expect(rows).toEqual({
    x: [0, 1, 2, 4],
    loss: [null, 3, 2, 1],
    validated: [4, null, null, 1.5],
    accuracy: [0.1, null, null, 0.5],
  });
});

const SPEC: FineTuneSpec = {
  kind: 'fine_tune',
  model: 'm',
  components: ['L1H1'],
  prompts: {
    source: 'template',
    operations: ['add'],
    styles: ['equation'],
    operands: [1, 9],
    pairs: 9,
    shots: 0,
    corruption: 'null_operator',
    seed: 0,
  },
};
const row = (id: string, part: Partial<FineTuneSpec>, state = 'succeeded') =>
  ({ id, kind: 'fine_tune', spec: { ...SPEC, ...part }, state }) as unknown as Experiment;

describe('comparable fine-tuning runs', () => {
  it('differ only in tuner, seed and parent', () => {
    expect(comparisonKey({ ...SPEC, tuner: 'lora', seed: 3, parent: 'a' })).toBe(
      comparisonKey({ ...SPEC, test: null }),
    );
    for (const part of [{ steps: 3 }, { components: ['L1H2'] }, { prompts: { ...SPEC.prompts, seed: 1 } }])
      expect(comparisonKey({ ...SPEC, ...part } as FineTuneSpec)).not.toBe(comparisonKey(SPEC));
  });
  it('are sorted by tuner and seed; of duplicates the successful run is kept', () => {
    const rows = relatedRuns(
      [
        row('f', { tuner: 'full' }),
        row('r1', { tuner: 'random', seed: 1 }),
        row('r', { tuner: 'random' }, 'failed'),
        row('r0', { tuner: 'random' }),
        row('p', { tuner: 'precise' }),
        row('x', { steps: 3 }),
        { id: 'k', kind: 'knockout', spec: { kind: 'knockout', parent: 'a' } } as unknown as Experiment,
      ],
      SPEC,
    );
    expect(rows.map(({ id }) => id)).toEqual(['p', 'r0', 'r1', 'f']);
    expect(nextSeed(rows)).toBe(2);
  });
  it('include missing controls to submit, with the same seed', () => {
    const there = (tuner: Tuner, seed = 0) => ({ spec: { ...SPEC, tuner, seed } });
    const left = missingControls([there('precise'), there('lora', 1)], { ...SPEC, tuner: 'precise', seed: 0 });
    expect(left.map((spec) => [tunerOf(spec), seedOf(spec)])).toEqual([
      ['random', 0],
      ['lora', 0],
      ['full', 0],
    ]);
    expect(missingControls([], { ...SPEC, components: [] }).map(tunerOf)).toEqual(['full']);
  });
  it('are averaged over seeds if all of them have a value', () => {
    const one = (after: number, ratio: number | null) =>
      comparisonRow({
        tunable: { share: 0.07 },
        evaluation: {
          held_out: judged('all', 'held_out', 10, 0.1, after),
          sets: [judged('facts', 'control', 4, 1, after)],
          neutral: { ratio: at(ratio as number), divergence: at(0.1) },
        },
        seconds_per_step: 1,
        deltas_bytes: 10,
      } as unknown as FineTuneResult);
    const mean = meanRow([one(0.4, 1.2), one(0.8, null)]);
    expect(mean.heldOut?.after).toBeCloseTo(0.6);
    expect(mean.controls?.after).toBeCloseTo(0.6);
    expect(mean.arithmetic).toBeNull();
    expect(mean.perplexity).toBeNull();
    expect(mean.divergence).toBeCloseTo(0.1);
  });
  it('have only their sizes if they were not evaluated', () => {
    const result = { tunable: { share: 0.07 }, evaluation: null, seconds_per_step: null, deltas_bytes: 10 };
    expect(comparisonRow(result as unknown as FineTuneResult)).toMatchObject({
      heldOut: null,
      perplexity: null,
      bytes: 10,
    });
  });
});
