import { describe, expect, it } from 'vitest';
import type { Effects, Result } from '../api/wire';
import { componentName } from './component';
import { cellOf, colourLimit, fromPartial, fromResult, sorted, uncertain } from './effects';

const grid = (mean: (number | null)[][]): Effects => ({
  mean,
  std: mean,
  ci_low: mean.map((row) => row.map((value) => value && value - 1)),
  ci_high: mean.map((row) => row.map((value) => value && value + 1)),
});

// Two layers of two heads: L0H0 -3, L0H1 0.5, MLP0 -3 / L1H0 no value, L1H1 -7, MLP1 4
const RESULT = {
  spec: { effect: 'direct' },
  model: { layers: 2, heads: 2, kv_heads: 1 },
  metrics: {
    logit: {
      unit: 'logits',
      n_pairs: 8,
      left_out: 0,
      heads: grid([
        [-3, 0.5],
        [null, -7],
      ]),
      mlps: grid([[-3], [4]]),
    },
  },
} as unknown as Result;

const table = fromResult(RESULT, 'logit');
if (!table) throw new Error('the metric is there');

describe('the table of effects', () => {
  it('ranks the most negative effect first, ties in model order, and leaves out missing values', () => {
    expect(table.ranking.map(componentName)).toEqual(['L1H1', 'L0H0', 'MLP0', 'L0H1', 'MLP1']);
    expect(table.ranking.map(({ rank }) => rank)).toEqual([1, 2, 3, 4, 5]);
    expect(cellOf(table, { layer: 1, head: 0 })).toMatchObject({ mean: null, rank: null });
  });

  it('lists the most restoring components first under denoising, with the ascending ranks of components.csv', () => {
    const back = fromResult({ ...RESULT, spec: { ...RESULT.spec, direction: 'denoising' } }, 'logit');
    expect(back?.ranking.map(componentName)).toEqual(['MLP1', 'L0H1', 'MLP0', 'L0H0', 'L1H1']);
    expect(back?.ranking.map(({ rank }) => rank)).toEqual([5, 4, 3, 2, 1]);
    expect(back?.cells.map(({ rank }) => rank)).toEqual(table.cells.map(({ rank }) => rank));
  });

  it('finds the cell of a component; null outside the model', () => {
    expect(cellOf(table, { layer: 1, head: 1 })?.mean).toBe(-7);
    expect(cellOf(table, { layer: 1, head: null })?.mean).toBe(4);
    expect(cellOf(table, { layer: 1, head: 2 })).toBeNull();
    expect(cellOf(table, { layer: 2, head: null })).toBeNull();
  });

  it('is null for a metric that was not computed', () => {
    expect(fromResult(RESULT, 'probability')).toBeNull();
  });

  it('shows running means during a run, without ranks for missing values', () => {
    const means = { n_pairs: 3, metrics: { logit: { heads: [[-1, 2]], mlps: [null] } } };
    const partial = fromPartial({ layers: 2, heads: 2, kv_heads: 2 }, 'logit', 'noising', means);
    expect(partial).toMatchObject({ nPairs: 3, finished: false });
    expect(partial.ranking.map(componentName)).toEqual(['L0H0', 'L0H1']);
    expect(fromPartial({ layers: 2, heads: 2, kv_heads: 2 }, 'logit', 'noising', null).ranking).toEqual([]);
  });

  it('marks effects whose interval includes 0 as uncertain', () => {
    const sure = table.cells.filter(({ mean }) => mean !== null).map((cell) => [componentName(cell), uncertain(cell)]);
    expect(sure).toEqual([
      ['L0H0', false],
      ['L0H1', true],
      ['MLP0', false],
      ['L1H1', false],
      ['MLP1', false],
    ]);
  });

  it('sorts by component, mean and rank', () => {
    expect(sorted(table, 'component', false).map(componentName)).toEqual(['L0H0', 'L0H1', 'MLP0', 'L1H1', 'MLP1']);
    expect(sorted(table, 'mean', true).map(componentName)[0]).toBe('MLP1');
    expect(sorted(table, 'rank', true).at(-1)?.rank).toBe(1);
  });
});

describe('the limit of the colour scale', () => {
  const of = (values: number[]) =>
    colourLimit(
      fromPartial({ layers: values.length, heads: 0, kv_heads: 0 }, 'logit', 'noising', {
        n_pairs: 1,
        metrics: { logit: { heads: values.map(() => []), mlps: values } },
      }),
    );

  it('is the largest absolute value', () => {
    expect(of([-3, 1, 2])).toEqual({ limit: 3, beyond: 0 });
  });

  it('excludes a few outliers that would wash out the other colours, and counts them', () => {
    expect(of([...Array.from({ length: 200 }, (_, i) => i / 200), 90])).toEqual({ limit: 0.99, beyond: 2 });
  });

  it('is 1 if all values are 0 or none exist', () => {
    expect(of([0, 0])).toEqual({ limit: 1, beyond: 0 });
    expect(of([])).toEqual({ limit: 1, beyond: 0 });
  });
});
