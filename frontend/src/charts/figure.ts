// Types and constants shared by all figures.

export interface Margin {
  l: number;
  r: number;
  t: number;
  b: number;
}

export interface Figure {
  data: object[];
  layout: object;
  /** Preferred size in pixels. */
  width?: number;
  height: number;
  margin: Margin;
}

/** Constant: a changed config makes Plotly start over. */
export const CONFIG = Object.freeze({
  displayModeBar: false,
  displaylogo: false,
  showSendToCloud: false,
  staticPlot: true,
  responsive: false,
  doubleClick: false,
  scrollZoom: false,
});

export const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
export const MONO = 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';

/** Integers from 0 below `count`, thinned to at most `most`: 0, 5, 10... */
export function ticks(count: number, most: number): number[] {
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((size) => Math.ceil(count / size) <= most) ?? count;
  return Array.from({ length: Math.ceil(count / step) }, (_, i) => i * step);
}
