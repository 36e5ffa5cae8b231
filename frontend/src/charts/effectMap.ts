// The map of effects: heads as [layer down, head across], and the MLPs as a column on the same rows and scale. A pure
// function from numbers to a Plotly figure. Positions are integers (cell i covers i to i + 1), never categories.
import { colourLimit, uncertain, type Cell, type EffectTable } from '../model/effects';
import { css, DIVERGING, faded, INK, plotlyScale, stops, type Theme } from './colours';
import { FONT, ticks, type Figure } from './figure';

/** Layout in units of one head's column: the page's own grid covers the same places. */
export interface Places {
  columns: number;
  gap: number;
  mlpWidth: number;
  total: number;
}

export function places(heads: number): Places {
  const gap = Math.max(0.4, heads * 0.03);
  const mlpWidth = Math.max(1, heads / 14);
  return { columns: heads, gap, mlpWidth, total: heads + gap + mlpWidth };
}

export const MARGIN = { l: 44, r: 4, t: 4, b: 40 } as const;

/** Size of the plot in pixels for the available width. Many heads on a narrow page scroll rather than vanish. */
export function size(
  table: Pick<EffectTable, 'layers' | 'heads'>,
  available: number,
): { width: number; height: number } {
  const least = places(table.heads).total * 7 + MARGIN.l + MARGIN.r;
  const row = Math.min(20, Math.max(9, 560 / table.layers));
  return { width: Math.max(available, least), height: Math.round(table.layers * row) + MARGIN.t + MARGIN.b };
}

type CellFilter = (cell: Cell) => boolean;

function valueGrid(table: EffectTable, kind: 'head' | 'mlp', filter: CellFilter): (number | null)[][] {
  const value = (cell: Cell | undefined) => (cell && cell.mean !== null && filter(cell) ? cell.mean : null);
  return Array.from({ length: table.layers }, (_, layer) => {
    const start = layer * (table.heads + 1);
    if (kind === 'mlp') return [value(table.cells[start + table.heads])];
    return Array.from({ length: table.heads }, (_, head) => value(table.cells[start + head]));
  });
}

const integers = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i);

/** Hatching of cells without a value yet: one small image below the cells. */
export function hatch(table: EffectTable, theme: Theme): string | null {
  const { total, gap, mlpWidth } = places(table.heads);
  const lines: string[] = [];
  for (const cell of table.cells) {
    if (cell.mean !== null) continue;
    const [x, width] = cell.head === null ? [table.heads + gap, mlpWidth] : [cell.head, 1];
    lines.push(
      `M${x} ${cell.layer + 0.5}l${width / 2}-.5M${x} ${cell.layer + 1}l${width}-1M${x + width / 2} ${cell.layer + 1}l${width / 2}-.5`,
    );
  }
  if (lines.length === 0) return null;
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${total} ${table.layers}" width="${total * 20}" ` +
    `height="${table.layers * 20}" preserveAspectRatio="none"><path d="${lines.join('')}" fill="none" ` +
    `stroke="${INK[theme].line}" stroke-width="0.06"/></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

export interface EffectMapOptions {
  theme: Theme;
  width: number;
  /** For an image file: title, provenance line and colour bar. */
  file?: { title: string; provenance: string; legend: string };
}

export function effectMap(table: EffectTable, { theme, width, file }: EffectMapOptions): Figure {
  const { layers, heads } = table;
  const { gap, mlpWidth, total } = places(heads);
  const { limit } = colourLimit(table);
  const ink = INK[theme];
  const clear = plotlyScale(stops(DIVERGING[theme]));
  const dull = plotlyScale(stops(faded(DIVERGING[theme])));
  const edges = integers(layers + 1);
  const box = size(table, width);

  const trace = (kind: 'head' | 'mlp', filter: CellFilter, colorscale: [number, string][], bar: boolean) => ({
    type: 'heatmap',
    x: kind === 'head' ? integers(heads + 1) : [heads + gap, total],
    y: [...edges],
    z: valueGrid(table, kind, filter),
    zmin: -limit,
    zmax: limit,
    colorscale,
    showscale: bar,
    hoverinfo: 'skip',
    hoverongaps: false,
    xgap: 1,
    ygap: 1,
    ...(bar
      ? {
          colorbar: {
            thickness: 12,
            len: 0.6,
            title: { text: file?.legend ?? '', side: 'right', font: { size: 11 } },
            tickfont: { size: 11 },
            outlinewidth: 0,
          },
        }
      : {}),
  });
  const picture = hatch(table, theme);
  const headTicks = ticks(heads, Math.max(4, Math.floor(box.width / 34)));
  const layerTicks = ticks(layers, Math.max(4, Math.floor(box.height / 22)));
  const group = table.kvHeads > 0 && table.kvHeads < heads && heads % table.kvHeads === 0 ? heads / table.kvHeads : 0;
  const bounds = group ? integers(table.kvHeads - 1, 1).map((i) => i * group) : [];

  const axis = {
    fixedrange: true,
    showgrid: false,
    zeroline: false,
    showline: false,
    ticks: '' as const,
    tickfont: { size: 11, color: ink.faint },
    automargin: false,
  };
  const margin = file ? { l: 52, r: 110, t: 48, b: 84 } : { ...MARGIN };
  return {
    width: box.width,
    height: box.height + (file ? 92 : 0),
    margin,
    data: [
      trace('head', (cell) => !uncertain(cell), clear, file !== undefined),
      trace('mlp', (cell) => !uncertain(cell), clear, false),
      trace('head', uncertain, dull, false),
      trace('mlp', uncertain, dull, false),
    ],
    layout: {
      width: box.width,
      height: box.height + (file ? 92 : 0),
      autosize: false,
      margin,
      paper_bgcolor: file ? ink.paper : 'rgba(0,0,0,0)',
      plot_bgcolor: 'rgba(0,0,0,0)',
      font: { relatedRuns: FONT, color: ink.text, size: 12 },
      dragmode: false,
      hovermode: false,
      showlegend: false,
      ...(file ? { title: { text: file.title, font: { size: 15 }, x: 0.01, xanchor: 'left' } } : {}),
      xaxis: {
        ...axis,
        type: 'linear',
        range: [0, total],
        tickvals: [...headTicks.map((head) => head + 0.5), heads + gap + mlpWidth / 2],
        ticktext: [...headTicks.map(String), 'MLP'],
        tickangle: 0,
        title: { text: 'head', standoff: 6, font: { size: 11, color: ink.faint } },
      },
      yaxis: {
        ...axis,
        type: 'linear',
        range: [layers, 0],
        tickvals: layerTicks.map((layer) => layer + 0.5),
        ticktext: layerTicks.map(String),
        title: { text: 'layer', standoff: 4, font: { size: 11, color: ink.faint } },
      },
      images: picture
        ? [
            {
              source: picture,
              xref: 'x',
              yref: 'y',
              x: 0,
              y: 0,
              sizex: total,
              sizey: layers,
              sizing: 'stretch',
              layer: 'below',
            },
          ]
        : [],
      shapes: bounds.map((x) => ({
        type: 'line',
        x0: x,
        x1: x,
        y0: 0,
        y1: layers,
        opacity: 0.55,
        line: { color: ink.faint, width: 1, dash: 'dot' },
      })),
      annotations: file
        ? [
            {
              text: file.provenance,
              xref: 'paper',
              yref: 'paper',
              x: 0,
              y: 0,
              yshift: -66,
              xanchor: 'left',
              yanchor: 'bottom',
              showarrow: false,
              align: 'left',
              font: { size: 10, color: ink.faint },
            },
          ]
        : [],
    },
  };
}

export const colourOf = (value: number, limit: number, theme: Theme): string => {
  const scale = DIVERGING[theme];
  const place = (Math.max(-1, Math.min(1, value / limit)) + 1) / 2;
  return css(scale[Math.round(place * (scale.length - 1))] ?? [0, 0, 0]);
};
