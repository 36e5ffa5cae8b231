import { describe, expect, it } from 'vitest';
import type { Effects, Result } from '../api/wire';
import { fromPartial, fromResult, type EffectTable } from '../model/effects';
import { DIVERGING, faded } from './colours';
import { effectMap, hatch, places, size } from './effectMap';

const effects = (mean: (number | null)[][], half: number): Effects => ({
  mean,
  std: mean,
  ci_low: mean.map((row) => row.map((value) => (value === null ? null : value - half))),
  ci_high: mean.map((row) => row.map((value) => (value === null ? null : value + half))),
});
const table = fromResult(
  {
    spec: { effect: 'direct' },
    model: { layers: 2, heads: 4, kv_heads: 2 },
    metrics: {
      logit: {
        unit: 'logits',
        n_pairs: 3,
        left_out: 0,
        heads: effects(
          [
            [-4, 1, 2, 3],
            [0.1, null, -0.2, 5],
          ],
          0.5,
        ),
        mlps: effects([[-6], [0.3]], 0.5),
      },
    },
  } as unknown as Result,
  'logit',
) as EffectTable;

interface Heat {
  type: string;
  x: number[];
  y: number[];
  z: (number | null)[][];
  zmin: number;
  zmax: number;
  colorscale: [number, string][];
}
const draw = (of = table) => {
  const figure = effectMap(of, { theme: 'light', width: 600 });
  return { data: figure.data as Heat[], layout: figure.layout as Record<string, unknown> };
};

describe('the effect map', () => {
  it('contains every value exactly once, with uncertain ones in muted colours', () => {
    const [sureHeads, sureMlps, dullHeads, dullMlps] = draw().data;
    expect(sureHeads?.z).toEqual([
      [-4, 1, 2, 3],
      [null, null, null, 5],
    ]);
    expect(dullHeads?.z).toEqual([
      [null, null, null, null],
      [0.1, null, -0.2, null],
    ]);
    expect(sureMlps?.z).toEqual([[-6], [null]]);
    expect(dullMlps?.z).toEqual([[null], [0.3]]);
  });

  it('has one scale for heads and MLPs, symmetric about 0', () => {
    for (const trace of draw().data) expect([trace.zmin, trace.zmax]).toEqual([-6, 6]);
  });

  it('places cells on integers, layer 0 at the top, with the MLP column apart on the same rows', () => {
    const { data, layout } = draw();
    const { gap, total } = places(4);
    expect(data[0]?.x).toEqual([0, 1, 2, 3, 4]);
    expect(data[0]?.y).toEqual([0, 1, 2]);
    expect(data[1]?.x).toEqual([4 + gap, total]);
    expect(data[1]?.y).toEqual([0, 1, 2]);
    expect(layout.yaxis).toMatchObject({ type: 'linear', range: [2, 0] });
    expect(layout.xaxis).toMatchObject({ type: 'linear' });
  });

  it('separates the groups of heads that share keys and values', () => {
    expect((draw().layout.shapes as { x0: number }[]).map(({ x0 }) => x0)).toEqual([2]);
    expect(draw({ ...table, kvHeads: 4 }).layout.shapes).toEqual([]);
    expect(draw({ ...table, kvHeads: 0 }).layout.shapes).toEqual([]);
  });

  it('hatches missing values and never shows them as 0', () => {
    expect(decodeURIComponent(hatch(table, 'light') ?? '')).toContain('M1 1.5');
    const empty = fromPartial({ layers: 2, heads: 4, kv_heads: 2 }, 'logit', 'noising', null);
    expect(
      draw(empty)
        .data.flatMap(({ z }) => z.flat())
        .every((value) => value === null),
    ).toBe(true);
    const full = fromPartial({ layers: 1, heads: 1, kv_heads: 1 }, 'logit', 'noising', {
      n_pairs: 1,
      metrics: { logit: { heads: [[1]], mlps: [2] } },
    });
    expect(hatch(full, 'light')).toBeNull();
  });

  it('has no drag mode and a transparent background', () => {
    expect(draw().layout).toMatchObject({ dragmode: false, plot_bgcolor: 'rgba(0,0,0,0)' });
  });

  it('has title, provenance and colour bar only in an exported file', () => {
    const file = effectMap(table, {
      theme: 'light',
      width: 600,
      file: { title: 'T', provenance: 'model@abc', legend: 'L' },
    });
    expect(JSON.stringify(file.layout)).toContain('model@abc');
    expect((file.data as { showscale: boolean }[]).filter(({ showscale }) => showscale)).toHaveLength(1);
    expect(JSON.stringify(draw().layout)).not.toContain('model@abc');
  });

  it('uses an explicit diverging scale with different ends and a neutral middle', () => {
    for (const theme of ['light', 'dark'] as const) {
      const scale = DIVERGING[theme];
      expect(scale).toHaveLength(11);
      const spread = ([r, g, b]: readonly [number, number, number]) => Math.max(r, g, b) - Math.min(r, g, b);
      expect(spread(scale[5] ?? [0, 255, 0])).toBeLessThan(12);
      expect(scale[1]?.[0]).toBeGreaterThan(scale[1]?.[2] ?? 999);
      expect(scale[9]?.[2]).toBeGreaterThan(scale[9]?.[0] ?? 999);
      faded(scale).forEach((colour, i) =>
        expect(spread(colour)).toBeLessThanOrEqual(spread(scale[i] ?? [0, 0, 0]) * 0.3 + 4),
      );
    }
  });

  it('keeps the cells of a large model wide enough to click', () => {
    expect(size({ layers: 80, heads: 64 }, 300).width).toBeGreaterThan(450);
    expect(size({ layers: 30, heads: 9 }, 600).width).toBe(600);
  });
});
