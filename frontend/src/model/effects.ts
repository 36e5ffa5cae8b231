// Effects as one flat table of cells with ranks, made from a result or from running means.
import type { Direction, Metric, MetricResult, PartialMeans, Result } from '../api/wire';
import type { EffectKind } from '../text/numbers';
import type { Component } from './component';
import { optionsOf } from './patchingOptions';

export interface Cell extends Component {
  /** null: not computed, or not a number. */
  readonly mean: number | null;
  readonly low: number | null;
  readonly high: number | null;
  /** Rank in components.csv: 1 is the most negative effect, whatever the direction. Null without a value. */
  readonly rank: number | null;
}

export interface EffectTable {
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly metric: Metric;
  readonly direction: EffectKind;
  readonly nPairs: number;
  /** False while pairs are still running: a cell without a value may still get one. */
  readonly finished: boolean;
  /** Row by row; the heads of a layer before its MLP. */
  readonly cells: readonly Cell[];
  /** Cells with a value, strongest first: those that hurt most when removed, or restore most. */
  readonly ranking: readonly Cell[];
  /** The end of the colour scale that several maps share. */
  readonly locked?: number;
}

export interface Shape {
  layers: number;
  heads: number;
  kv_heads: number;
}

type Read = (layer: number, head: number | null) => { mean: number | null; low: number | null; high: number | null };

const finite = (value: number | null | undefined): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null;

function table(
  shape: Shape,
  metric: Metric,
  direction: EffectKind,
  nPairs: number,
  finished: boolean,
  read: Read,
): EffectTable {
  const { layers, heads } = shape;
  const order: { layer: number; head: number | null; at: number; mean: number }[] = [];
  const values = Array.from({ length: layers * (heads + 1) }, (_, at) => {
    const layer = Math.floor(at / (heads + 1));
    const column = at % (heads + 1);
    const head = column === heads ? null : column;
    const value = read(layer, head);
    if (value.mean !== null) order.push({ layer, head, at, mean: value.mean });
    return { layer, head, ...value };
  });
  // Ties keep the order of the model: layer by layer, heads before the MLP (as in components.csv).
  order.sort((a, b) => a.mean - b.mean || a.at - b.at);
  const ranks = new Map(order.map(({ at }, index) => [at, index + 1]));
  const cells = values.map((value, at): Cell => ({ ...value, rank: ranks.get(at) ?? null }));
  // The CSV ascends in both directions; the components that restore most are at its other end.
  if (direction === 'denoising') order.reverse();
  return {
    layers,
    heads,
    kvHeads: shape.kv_heads,
    metric,
    direction,
    nPairs,
    finished,
    cells,
    ranking: order.map(({ at }) => cells[at] as Cell),
  };
}

/** The table of a finished result; null if the metric was not computed. */
export function fromResult(result: Result, metric: Metric): EffectTable | null {
  const metricResult = result.metrics[metric];
  return metricResult ? tableOf(result.model, metric, optionsOf(result.spec).direction, metricResult) : null;
}

/** The table of one metric. */
export const tableOf = (shape: Shape, metric: Metric, direction: EffectKind, metricResult: MetricResult): EffectTable =>
  table(shape, metric, direction, metricResult.n_pairs, true, (layer, head) => {
    const part = head === null ? metricResult.mlps : metricResult.heads;
    const column = head ?? 0;
    return {
      mean: finite(part.mean[layer]?.[column]),
      low: finite(part.ci_low[layer]?.[column]),
      high: finite(part.ci_high[layer]?.[column]),
    };
  });

/** The table of the running means; without any, no cell is computed yet. */
export function fromPartial(
  shape: Shape,
  metric: Metric,
  direction: Direction,
  partial: PartialMeans | null,
): EffectTable {
  const metricResult = partial?.metrics[metric];
  return table(shape, metric, direction, partial?.n_pairs ?? 0, false, (layer, head) => ({
    mean: finite(head === null ? metricResult?.mlps[layer] : metricResult?.heads[layer]?.[head]),
    low: null,
    high: null,
  }));
}

export function cellOf(table: EffectTable, { layer, head }: Component): Cell | null {
  if (layer >= table.layers || (head !== null && head >= table.heads)) return null;
  return table.cells[layer * (table.heads + 1) + (head ?? table.heads)] ?? null;
}

/** True if the 95 % interval covers 0: there may be no effect. */
export const uncertain = (cell: Cell): boolean =>
  cell.low !== null && cell.high !== null && cell.low <= 0 && cell.high >= 0;

/**
 * The colour scale's end, the same on both sides of 0. A few huge components must not bleach the rest: when the
 * largest is over twice the 99th percentile the scale stops at the percentile, and `beyond` says how many lie past.
 * A locked scale is kept.
 */
export function colourLimit(table: EffectTable): { limit: number; beyond: number } {
  const sizes = table.ranking.map((cell) => Math.abs(cell.mean ?? 0)).sort((a, b) => a - b);
  const largest = sizes.at(-1) ?? 0;
  const past = (limit: number) => ({ limit, beyond: sizes.filter((size) => size > limit).length });
  if (table.locked !== undefined) return past(table.locked);
  if (largest === 0) return { limit: 1, beyond: 0 };
  const high = sizes[Math.floor((sizes.length - 1) * 0.99)] ?? largest;
  if (high === 0 || largest <= 2 * high) return { limit: largest, beyond: 0 };
  return past(high);
}

export type SortKey = 'rank' | 'component' | 'mean' | 'width';

/** The ranking in another order, without cells that have no value. */
export function sorted(table: EffectTable, key: SortKey, descending: boolean): Cell[] {
  const place = (cell: Cell) => cell.layer * (table.heads + 1) + (cell.head ?? table.heads);
  const width = (cell: Cell) => (cell.high ?? Infinity) - (cell.low ?? -Infinity);
  const by: Record<SortKey, (cell: Cell) => number> = {
    rank: (cell) => cell.rank ?? Infinity,
    component: place,
    mean: (cell) => cell.mean ?? Infinity,
    width,
  };
  const value = by[key];
  const rows = [...table.ranking].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return x === y ? 0 : x - y;
  });
  return descending ? rows.reverse() : rows;
}
