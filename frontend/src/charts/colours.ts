// Colour scales as explicit arrays: named ones differ between plotly.js and plotly.py, and unknown names fall back in
// silence. Orange to blue through a neutral can be told apart in the common kinds of colour blindness, and its
// lightness grows evenly away from 0 on both sides.

export type Theme = 'light' | 'dark';
export type Rgb = readonly [number, number, number];
/** Colours at even steps from -limit to +limit. */
export type Diverging = readonly Rgb[];

const hex = (text: string): Rgb => [
  Number.parseInt(text.slice(1, 3), 16),
  Number.parseInt(text.slice(3, 5), 16),
  Number.parseInt(text.slice(5, 7), 16),
];

export const css = ([r, g, b]: Rgb): string => `rgb(${r},${g},${b})`;

export const DIVERGING: Record<Theme, Diverging> = {
  light: [
    '#7a2e00',
    '#b04a08',
    '#d9752b',
    '#eeaa74',
    '#f7d9be',
    '#f2f0ec',
    '#c4dbef',
    '#86b7de',
    '#4a8cc6',
    '#2463a3',
    '#123f75',
  ].map(hex),
  dark: [
    '#ffc894',
    '#ffa95c',
    '#ea8536',
    '#b8622a',
    '#70432a',
    '#2b2f33',
    '#28475f',
    '#2f6a98',
    '#4591cc',
    '#7cb8ea',
    '#bfdefa',
  ].map(hex),
};

/** The scale for cells whose interval covers 0: nearly all of the hue is removed, and some of the contrast. */
export function faded(scale: Diverging): Diverging {
  const middle = scale[(scale.length - 1) / 2] ?? [128, 128, 128];
  return scale.map(([r, g, b]): Rgb => {
    const grey = 0.3 * r + 0.59 * g + 0.11 * b;
    const mix = (value: number, i: 0 | 1 | 2) => Math.round(0.6 * (grey + 0.18 * (value - grey)) + 0.4 * middle[i]);
    return [mix(r, 0), mix(g, 1), mix(b, 2)];
  });
}

/** Attention, 0 to 1 in one hue. Most weights are near 0, so the lower part of the scale has more contrast. */
const ATTENTION: Record<Theme, readonly (readonly [number, Rgb])[]> = {
  light: [
    [0, hex('#f6f6f2')],
    [0.05, hex('#d9ebe6')],
    [0.2, hex('#8cc7bb')],
    [0.5, hex('#2f8f83')],
    [1, hex('#053f3c')],
  ],
  dark: [
    [0, hex('#23282b')],
    [0.05, hex('#1f4340')],
    [0.2, hex('#24726a')],
    [0.5, hex('#47b3a5')],
    [1, hex('#d2fbf1')],
  ],
};

export const attentionScale = (theme: Theme) => ATTENTION[theme];

/** The colour of a value on a scale of stops from 0 to 1; values outside are clamped. */
export function colourAt(stops: readonly (readonly [number, Rgb])[], value: number): Rgb {
  const first = stops[0];
  const last = stops.at(-1);
  if (!first || !last) return [0, 0, 0];
  if (!(value > first[0])) return first[1];
  if (value >= last[0]) return last[1];
  const upper = stops.findIndex(([place]) => place >= value);
  const [from, to] = [stops[upper - 1] ?? first, stops[upper] ?? last];
  const part = (value - from[0]) / (to[0] - from[0]);
  const mix = (i: 0 | 1 | 2) => Math.round(from[1][i] + part * (to[1][i] - from[1][i]));
  return [mix(0), mix(1), mix(2)];
}

/** A diverging array as stops from 0 to 1, for Plotly and CSS. */
export const stops = (scale: Diverging): [number, Rgb][] => scale.map((colour, i) => [i / (scale.length - 1), colour]);

export const plotlyScale = (pairs: readonly (readonly [number, Rgb])[]): [number, string][] =>
  pairs.map(([place, colour]) => [place, css(colour)]);

export const gradient = (pairs: readonly (readonly [number, Rgb])[]): string =>
  `linear-gradient(to right, ${pairs.map(([place, colour]) => `${css(colour)} ${100 * place}%`).join(', ')})`;

/** Black or white text, whichever reads better on a colour: one of the two always has a contrast of at least 4.5. */
export function inkOn(colour: Rgb): '#000000' | '#ffffff' {
  const linear = (value: number) => (value <= 10.3 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = colour;
  const light = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  return light > 0.179 ? '#000000' : '#ffffff';
}

/** Colours of charts apart from the scales. */
export interface Ink {
  text: string;
  faint: string;
  line: string;
  paper: string;
}

export const INK: Record<Theme, Ink> = {
  light: { text: '#2a2f33', faint: '#5b646b', line: '#c9cdd0', paper: '#ffffff' },
  dark: { text: '#dfe3e6', faint: '#a3acb3', line: '#464d53', paper: '#1c2023' },
};
