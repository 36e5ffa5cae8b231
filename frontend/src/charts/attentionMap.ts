// One head's attention: from token (down) to token (across), fixed 0 to 1 in one hue. The first token takes most of
// the weight in most heads and is hidden here, its mass printed instead. Digit tokens repeat and look like numbers:
// positions are integers, the tokens are tick text.
import type { Role, Token } from '../api/wire';
import { clip, escapeForPlotly, visible } from '../text/tokens';
import { attentionScale, INK, plotlyScale, type Theme } from './colours';
import { FONT, MONO, type Figure } from './figure';

export const WINDOW = 60;

export interface Range {
  /** Positions shown: from `start` to the end. */
  start: number;
  count: number;
  hiddenBefore: number;
}

/** The positions that are drawn: all but the first, or the last WINDOW. */
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

/** What END attends to, summed by the part that the tokens play. Every role is told, also at 0. */
export function endByRole(weights: readonly (readonly number[])[], tokens: readonly Token[]): RoleShare[] {
  const end = weights.at(-1) ?? [];
  const order: Role[] = ['operand_a', 'operator', 'operand_b', 'equals', 'shot', 'other', 'first'];
  return order.map((role) => {
    const places = tokens.flatMap((token, i) => (token.role === role ? [i] : []));
    return { role, tokens: places.length, weight: places.reduce((sum, i) => sum + (end[i] ?? 0), 0) };
  });
}

export const MARGIN = { l: 78, r: 6, t: 6, b: 84 } as const;

export function side(count: number, available: number): { width: number; height: number } {
  const inner = Math.max(120, available - MARGIN.l - MARGIN.r);
  const cell = Math.min(26, inner / Math.max(1, count));
  const plot = Math.max(120, Math.round(cell * count));
  return { width: plot + MARGIN.l + MARGIN.r, height: plot + MARGIN.t + MARGIN.b };
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
  const box = side(count, available);
  const cell = (box.width - MARGIN.l - MARGIN.r) / Math.max(1, count);
  // Above the diagonal there is no attention, which is not the same as none paid.
  const z = shown.map((_, query) =>
    shown.map((__, key) => (key > query ? null : (weights[start + query]?.[start + key] ?? null))),
  );
  const every = Math.max(1, Math.ceil(11 / cell));
  // Counted from END, so that END keeps its name.
  const named = shown.map((_, i) => i).filter((i) => (count - 1 - i) % every === 0);
  const names = named.map((i) => {
    const token = shown[i];
    if (!token) return '';
    return `<span style="color:${roleInk(token.role, theme)}">${escapeForPlotly(clip(visible(token.text), 8))}</span>`;
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
    tickfont: { family: MONO, size: 11, color: ink.text },
    title: { text: title, standoff, font: { size: 11, color: ink.faint } },
  });
  return {
    ...box,
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
      ...box,
      autosize: false,
      margin: { ...MARGIN },
      paper_bgcolor: 'rgba(0,0,0,0)',
      plot_bgcolor: 'rgba(0,0,0,0)',
      font: { family: FONT, color: ink.text, size: 12 },
      dragmode: false,
      hovermode: false,
      showlegend: false,
      xaxis: { ...axis('to token', 10), range: [0, count], tickangle: -90 },
      yaxis: { ...axis('from token', 8), range: [count, 0] },
    },
  };
}

