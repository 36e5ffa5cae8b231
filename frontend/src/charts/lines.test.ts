import { describe, expect, it } from 'vitest';
import { attentionScale, colourAt, DIVERGING, inkOn, type Rgb } from './colours';
import { lines, intervalRuns } from './lines';

type Trace = { y: (number | null)[]; x: number[]; fill?: string };

describe('a line chart', () => {
  const options = { theme: 'light', width: 400, x: [0, 1, 2, 3], xName: 'out', yName: 'share' } as const;
  const curve = { name: 'a', colour: '#000000', y: [1, null, 0.5, 0.2] };

  it('leaves a gap at missing values, in the line and in its band', () => {
    const figure = lines([{ ...curve, low: [0.9, null, 0.4, 0.1], high: [1, null, 0.6, 0.3] }], options);
    const traces = figure.data as Trace[];
    expect(traces.at(-1)?.y).toEqual([1, null, 0.5, 0.2]);
    const bands = traces.filter(({ fill }) => fill === 'toself');
    expect(bands.map(({ x }) => x)).toEqual([
      [0, 0],
      [2, 3, 3, 2],
    ]);
    expect(bands[1]?.y).toEqual([0.6, 0.3, 0.1, 0.4]);
  });
  it('connects the points of a sparse curve across gaps', () => {
    const [plain, sparse] = lines([curve, { ...curve, sparse: true }], options).data as { connectgaps: boolean }[];
    expect([plain?.connectgaps, sparse?.connectgaps]).toEqual([false, true]);
  });
  it('has no band without both ends of an interval', () => {
    expect(intervalRuns([null, 1], [1, null])).toEqual([]);
    expect(lines([curve], options).data).toHaveLength(1);
  });
  it('omits 0 on a logarithmic scale', () => {
    const [trace] = lines([{ ...curve, y: [0, 10] }], { ...options, log: true }).data as Trace[];
    expect(trace?.y).toEqual([null, 10]);
  });
  it('marks a layer with its name and its interval', () => {
    const { layout } = lines([curve], { ...options, marks: [{ at: 2, name: 'end', interval: [1, 3] }] });
    const { shapes, annotations } = layout as { shapes: { x0: number; x1: number }[]; annotations: { text: string }[] };
    expect(shapes.map(({ x0, x1 }) => [x0, x1])).toEqual([
      [0.75, 3.25],
      [2, 2],
    ]);
    expect(annotations.map(({ text }) => text)).toEqual(['end']);
  });
});

it('has a text contrast of at least 4.5 on every colour of the scales', () => {
  const light = ([r, g, b]: Rgb) => {
    const part = (value: number) =>
      value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const colours = (['light', 'dark'] as const).flatMap((theme) => [
    ...DIVERGING[theme],
    ...Array.from({ length: 50 }, (_, i) => colourAt(attentionScale(theme), i / 49)),
  ]);
  for (const colour of colours) {
    const ink = inkOn(colour) === '#000000' ? 0 : 1;
    const [high, low] = [Math.max(light(colour), ink), Math.min(light(colour), ink)];
    expect((high + 0.05) / (low + 0.05)).toBeGreaterThanOrEqual(4.5);
  }
});
