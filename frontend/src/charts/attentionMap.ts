// One head's attention: from token (down) to token (across), on a fixed scale from 0 to 1 in one hue. The first token
// takes most of the weight in most heads: it is hidden, and its mass printed instead. Digit tokens repeat and look like
// numbers, so positions are integers and tokens are tick text.
import type { Role, Token } from '../api/wire';
import { clip, escapeForPlotly, visible } from '../text/tokens';
import { attentionScale, INK, plotlyScale, type Theme } from './colours';
import { FONT, MONO, type Figure, type Margin } from './figure';

export const WINDOW = 60;

export interface Range {
  /** Positions shown: from `start` to the end. */
  start: number;
  count: number;
  hiddenBefore: number;
}

/** The positions drawn: all but the first, or the last WINDOW. */
export function range(tokens: number): Range {
  const start = Math.max(tokens > 1 ? 1 : 0, tokens - WINDOW);
  return { start, count: tokens - start, hiddenBefore: start };
}

/** Weight on the first token: of the END row, and the mean over all rows but its own. */
export function firstTokenMass(weights: readonly (readonly number[])[]): { end: number; mean: number } {
  const rows = weights.slice(1);
  const mass = (row: readonly number[] | undefined) => row?.[0] ?? 0;
  const mean = rows.length ? rows.reduce((sum, row) => sum + mass(row), 0) / rows.length : mass(weights[0]);
  return { end: mass(weights.at(-1)), mean };
}

export interface RoleShare {
  role: Role;
  weight: number;
  tokens: number;
}

/** Attention from END, summed by role. Every role is listed, even at 0. */
export function endByRole(weights: readonly (readonly number[])[], tokens: readonly Token[]): RoleShare[] {
  const end = weights.at(-1) ?? [];
  const order: Role[] = ['operand_a', 'operator', 'operand_b', 'equals', 'shot', 'other', 'first'];
  return order.map((role) => {
    const places = tokens.flatMap((token, i) => (token.role === role ? [i] : []));
    return { role, tokens: places.length, weight: places.reduce((sum, i) => sum + (end[i] ?? 0), 0) };
  });
}

const LETTER = 7;
const AXIS_TITLE = 34;
const NAME = 8;

/** Size of a square map for `count` tokens whose longest name has `letters` letters, in the available width. */
export function side(
  count: number,
  letters: number,
  available: number,
): { cell: number; upright: boolean; margin: Margin; width: number; height: number } {
  const l = AXIS_TITLE + LETTER * letters;
  const r = 6;
  const inner = Math.max(120, available - l - r);
  const cell = Math.min(26, inner / Math.max(1, count));
  // Names are horizontal if they fit under their column, and vertical otherwise.
  const upright = letters * LETTER < cell;
  const margin = { l, r, t: 4, b: AXIS_TITLE + (upright ? 12 : LETTER * letters) };
  const plot = Math.round(cell * count);
  return { cell, upright, margin, width: plot + l + r, height: plot + margin.t + margin.b };
}

const ROLE_INK: Record<Theme, Record<Role, string>> = {
  light: {
    operand_a: '#6a3d9a',
    operator: '#b0256b',
    operand_b: '#00696b',
    equals: '#6b5800',
    shot: '#5b646b',
    first: '#5b646b',
    other: '#2a2f33',
  },
  dark: {
    operand_a: '#c5a3ee',
    operator: '#f590bf',
    operand_b: '#6fd3d0',
    equals: '#e0c65a',
    shot: '#a3acb3',
    first: '#a3acb3',
    other: '#dfe3e6',
  },
};

export const roleInk = (role: Role, theme: Theme): string => ROLE_INK[theme][role];

export function attentionMap(
  weights: readonly (readonly number[])[],
  tokens: readonly Token[],
  theme: Theme,
  available: number,
): Figure {
  const { start, count } = range(tokens.length);
  const shown = tokens.slice(start);
  const ink = INK[theme];
  const spelled = shown.map((token) => clip(visible(token.text), NAME));
  const letters = Math.max(1, ...spelled.map((name) => [...name].length));
  const { cell, upright, margin, width, height } = side(count, letters, available);
  // Above the diagonal there is no attention, which is not the same as 0.
  const z = shown.map((_, query) =>
    shown.map((__, key) => (key > query ? null : (weights[start + query]?.[start + key] ?? null))),
  );
  const every = Math.max(1, Math.ceil(11 / cell));
  // Counted from END, so that END keeps its name.
  const named = shown.map((_, i) => i).filter((i) => (count - 1 - i) % every === 0);
  const names = named.map((i) => {
    const token = shown[i];
    if (!token) return '';
    return `<span style="color:${roleInk(token.role, theme)}">${escapeForPlotly(spelled[i] ?? '')}</span>`;
  });
  const edges = Array.from({ length: count + 1 }, (_, i) => i);
  const axis = (title: string, standoff: number) => ({
    type: 'linear' as const,
    fixedrange: true,
    showgrid: false,
    zeroline: false,
    showline: false,
    ticks: '' as const,
    automargin: false,
    tickvals: named.map((i) => i + 0.5),
    ticktext: [...names],
    tickfont: { relatedRuns: MONO, size: 11, color: ink.text },
    title: { text: title, standoff, font: { size: 11, color: ink.faint } },
  });
  return {
    width,
    height,
    margin,
    data: [
      {
        type: 'heatmap',
        x: edges,
        y: [...edges],
        z,
        zmin: 0,
        zmax: 1,
        colorscale: plotlyScale(attentionScale(theme)),
        showscale: false,
        hoverinfo: 'skip',
        hoverongaps: false,
        xgap: cell > 8 ? 1 : 0,
        ygap: cell > 8 ? 1 : 0,
      },
    ],
    layout: {
      width,
      height,
      autosize: false,
      margin: { ...margin },
      paper_bgcolor: 'rgba(0,0,0,0)',
      plot_bgcolor: 'rgba(0,0,0,0)',
      font: { relatedRuns: FONT, color: ink.text, size: 12 },
      dragmode: false,
      hovermode: false,
      showlegend: false,
      xaxis: { ...axis('to token', 10), range: [0, count], tickangle: upright ? 0 : -90 },
      yaxis: { ...axis('from token', 8), range: [count, 0] },
    },
  };
}
