import { describe, expect, it } from 'vitest';
import type { Role, Token } from '../api/wire';
import { attentionMap, endByRole, firstTokenMass, range } from './attentionMap';
import { colourAt, attentionScale } from './colours';
import { corner, paint, sheet } from './thumbnails';

const token = (text: string, role: Role): Token => ({ text, id: 1, role });
const TOKENS = [token('1', 'first'), token('1', 'operand_a'), token('<b>', 'operator'), token('1', 'equals')];
const WEIGHTS = [
  [1, 0, 0, 0],
  [0.6, 0.4, 0, 0],
  [0.5, 0.2, 0.3, 0],
  [0.1, 0.2, 0.3, 0.4],
];

describe('the attention map', () => {
  const figure = attentionMap(WEIGHTS, TOKENS, 'light', 500);
  const [heat] = figure.data as { z: (number | null)[][]; zmin: number; zmax: number; x: number[] }[];
  const layout = figure.layout as Record<
    'xaxis' | 'yaxis',
    { tickvals: number[]; ticktext: string[]; range: number[]; type: string }
  >;

  it('hides the first token and leaves the future empty', () => {
    expect(heat?.z).toEqual([
      [0.4, null, null],
      [0.2, 0.3, null],
      [0.2, 0.3, 0.4],
    ]);
  });
  it('has the fixed scale 0 to 1', () => expect([heat?.zmin, heat?.zmax]).toEqual([0, 1]));
  it('keeps equal digit tokens apart: integer positions, tokens as escaped text', () => {
    expect(heat?.x).toEqual([0, 1, 2, 3]);
    expect(layout.xaxis.type).toBe('linear');
    expect(layout.xaxis.tickvals).toEqual([0.5, 1.5, 2.5]);
    expect(layout.xaxis.ticktext[1]).toContain('&lt;b&gt;');
    expect(layout.xaxis.ticktext[1]).not.toContain('<b>');
    expect(layout.yaxis.range).toEqual([3, 0]);
  });
  it('draws the last 60 tokens of a long prompt and always labels END', () => {
    expect(range(128)).toEqual({ start: 68, count: 60, hiddenBefore: 68 });
    expect(range(20)).toEqual({ start: 1, count: 19, hiddenBefore: 1 });
    expect(range(1)).toEqual({ start: 0, count: 1, hiddenBefore: 0 });
    const long = Array.from({ length: 100 }, (_, i) => token(String(i), 'shot'));
    const wide = attentionMap(
      long.map(() => long.map(() => 0.01)),
      long,
      'dark',
      320,
    );
    const axis = (wide.layout as typeof layout).xaxis;
    expect(axis.ticktext.at(-1)).toContain('99');
    expect(axis.tickvals.length).toBeLessThan(60);
  });
  it('computes the attention to the hidden token', () => {
    expect(firstTokenMass(WEIGHTS).end).toBe(0.1);
    expect(firstTokenMass(WEIGHTS).mean).toBeCloseTo(0.4);
    expect(firstTokenMass([[1]])).toEqual({ end: 1, mean: 1 });
  });
});

it('has an END row that sums to 1 over the roles', () => {
  const rows = endByRole(WEIGHTS, TOKENS);
  expect(rows.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1);
  expect(rows.find(({ role }) => role === 'operator')).toEqual({ role: 'operator', tokens: 1, weight: 0.3 });
  expect(rows.find(({ role }) => role === 'shot')).toEqual({ role: 'shot', tokens: 0, weight: 0 });
});

describe('the sheet of thumbnails', () => {
  it('fits its width, with one tile per head and no overlap', () => {
    for (const [heads, width] of [
      [9, 400],
      [64, 440],
      [64, 1200],
      [1, 50],
    ] as const) {
      const layout = sheet(heads, width);
      expect(layout.width).toBeLessThanOrEqual(width + 40);
      const last = corner(heads - 1, layout);
      expect(last.x + layout.tile).toBeLessThanOrEqual(layout.width);
      expect(last.y + layout.tile).toBeLessThanOrEqual(layout.height);
    }
  });
  it('paints each head in its own tile, with the colours of the large map', () => {
    const dark = WEIGHTS.map((row) => row.map(() => 1));
    const blank = WEIGHTS.map((row) => row.map(() => 0));
    const layout = sheet(2, 200);
    const pixels = paint([blank, dark], layout, 'light');
    const pixel = (x: number, y: number) => [
      ...pixels.slice(4 * (y * layout.width + x), 4 * (y * layout.width + x) + 3),
    ];
    const second = corner(1, layout);
    expect(pixel(2, 2)).toEqual([...colourAt(attentionScale('light'), 0)]);
    expect(pixel(second.x + 2, second.y + 2)).toEqual([...colourAt(attentionScale('light'), 1)]);
  });
});

describe('a colour on a scale', () => {
  const stops = [
    [0, [0, 0, 0]],
    [0.5, [100, 0, 0]],
    [1, [200, 0, 0]],
  ] as const;
  it.each([
    [-1, 0],
    [0.25, 50],
    [0.5, 100],
    [2, 200],
    [Number.NaN, 0],
  ])('at %d is %d', (value, red) => expect(colourAt(stops, value)[0]).toBe(red));
});
