// Line charts with intervals as bands. A pure function from numbers to a Plotly figure; a missing value breaks the
// line.
import { INK, type Theme } from './colours';
import { FONT, type Figure } from './figure';

type Row = readonly (number | null)[];

export interface Curve {
  name: string;
  y: Row;
  colour: string;
  dash?: 'solid' | 'dash' | 'dot';
  /** Connects across missing values, for a curve measured at few steps. */
  sparse?: boolean;
  /** The interval: both or none. */
  low?: Row;
  high?: Row;
}

export interface Mark {
  at: number;
  name: string;
  interval?: readonly [number, number] | null;
}

export interface LinesOptions {
  theme: Theme;
  width: number;
  height?: number;
  /** The x value of each index. */
  x: readonly number[];
  xName: string;
  yName: string;
  yRange?: readonly [number, number];
  /** Logarithmic y axis, for ranks that span decades. */
  log?: boolean;
  marks?: readonly Mark[];
}

/** Colours that differ in lightness, too; the dash of the line repeats the distinction. */
export const LINE: Record<Theme, { main: string; second: string; chance: string; other: string }> = {
  light: { main: '#0b6670', second: '#a84508', chance: '#6f7880', other: '#b08a6a' },
  dark: { main: '#6cc7d0', second: '#ffab61', chance: '#9aa4ab', other: '#a58b70' },
};

/** Height of a line of names, in pixels. */
const NAME = 13;

const clear = (colour: string, share: number): string =>
  `${colour}${Math.round(255 * share)
    .toString(16)
    .padStart(2, '0')}`;

/** Runs of neighbouring indices that have both ends of an interval. */
export function intervalRuns(low: Row, high: Row): number[][] {
  const runs: number[][] = [];
  let current: number[] = [];
  for (let i = 0; i < Math.max(low.length, high.length); i += 1) {
    if (low[i] != null && high[i] != null) current.push(i);
    else if (current.length) {
      runs.push(current);
      current = [];
    }
  }
  if (current.length) runs.push(current);
  return runs;
}

function band(curve: Curve, x: readonly number[]): object[] {
  const { low, high, colour } = curve;
  if (!low || !high) return [];
  return intervalRuns(low, high).map((indices) => {
    const reversed = [...indices].reverse();
    return {
      type: 'scatter',
      mode: 'lines',
      x: [...indices.map((i) => x[i]), ...reversed.map((i) => x[i])],
      y: [...indices.map((i) => high[i]), ...reversed.map((i) => low[i])],
      fill: 'toself',
      fillcolor: clear(colour, 0.18),
      line: { width: 0 },
      hoverinfo: 'skip',
    };
  });
}

export function lines(curves: readonly Curve[], options: LinesOptions): Figure {
  const { theme, width, x, log = false, marks = [] } = options;
  const ink = INK[theme];
  // Names of neighbouring marks are stacked.
  const margin = { l: 56, r: 12, t: 6 + NAME * Math.max(1, marks.length), b: 42 };
  const height = (options.height ?? 242) + margin.t;
  const axis = {
    fixedrange: true,
    zeroline: false,
    showline: true,
    linecolor: ink.line,
    gridcolor: ink.line,
    tickfont: { size: 11, color: ink.faint },
    automargin: false,
  };
  const first = x[0] ?? 0;
  const last = x.at(-1) ?? 1;
  const edge = Math.max(0.25, (last - first) * 0.01);
  return {
    width,
    height,
    margin,
    data: [
      ...curves.flatMap((curve) => band(curve, x)),
      ...curves.map(({ y, colour, dash = 'solid', sparse = false }) => ({
        type: 'scatter',
        mode: x.length < 40 || sparse ? 'lines+markers' : 'lines',
        x: [...x],
        // A logarithmic axis has no place for 0.
        y: y.map((value) => (log && value !== null && value <= 0 ? null : value)),
        connectgaps: sparse,
        line: { color: colour, dash, width: 2 },
        marker: { color: colour, size: 4 },
        hoverinfo: 'skip',
      })),
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
      xaxis: {
        ...axis,
        range: [first - edge, last + edge],
        showgrid: false,
        tickformat: 'd',
        nticks: Math.max(3, Math.floor(width / 60)),
        title: { text: options.xName, standoff: 6, font: { size: 11, color: ink.faint } },
      },
      yaxis: {
        ...axis,
        type: log ? 'log' : 'linear',
        ...(log ? { dtick: 1 } : {}),
        ...(options.yRange && !log ? { range: [...options.yRange] } : { rangemode: 'normal' }),
        title: { text: options.yName, standoff: 4, font: { size: 11, color: ink.faint } },
      },
      shapes: marks.flatMap(({ at, interval }) => [
        ...(interval
          ? [
              {
                type: 'rect',
                x0: interval[0] - 0.25,
                x1: interval[1] + 0.25,
                yref: 'paper',
                y0: 0,
                y1: 1,
                layer: 'below',
                fillcolor: ink.faint,
                opacity: 0.13,
                line: { width: 0 },
              },
            ]
          : []),
        {
          type: 'line',
          x0: at,
          x1: at,
          yref: 'paper',
          y0: 0,
          y1: 1,
          line: { color: ink.faint, width: 1, dash: 'dot' },
        },
      ]),
      annotations: marks.map(({ at, name }, i) => ({
        text: name,
        x: at,
        yref: 'paper',
        y: 1,
        yanchor: 'bottom',
        yshift: NAME * (marks.length - 1 - i),
        showarrow: false,
        font: { size: 11, color: ink.faint },
      })),
    },
  };
}
