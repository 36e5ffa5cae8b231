// A measure of a transfer as cells [found on][evaluated on], each with its interval and its random control.
import type { TransferMatrix } from '../api/results';
import type { Grid } from '../api/wire';
import { digits, plural } from '../text/numbers';

export type Measure = 'accuracy' | 'probability';

export interface MatrixCell {
  plain: number | null;
  value: number | null;
  low: number | null;
  high: number | null;
  control: number | null;
  drawsLow: number | null;
  drawsHigh: number | null;
}

export const cellsOf = (matrix: TransferMatrix): MatrixCell[][] =>
  matrix.value.map((row, i) =>
    row.map((value, j) => ({
      plain: matrix.plain[j] ?? null,
      value,
      low: matrix.ci_low[i]?.[j] ?? null,
      high: matrix.ci_high[i]?.[j] ?? null,
      control: matrix.control[i]?.[j] ?? null,
      drawsLow: matrix.draws_low[i]?.[j] ?? null,
      drawsHigh: matrix.draws_high[i]?.[j] ?? null,
    })),
  );

/** Difference cell by cell; null where either is missing. */
export const subtract = (a: Grid, b: Grid): (number | null)[][] =>
  a.map((row, i) =>
    row.map((value, j) => {
      const other = b[i]?.[j] ?? null;
      return value === null || other === null ? null : value - other;
    }),
  );

const range = (low: number | null, high: number | null): string =>
  low === null || high === null ? 'no interval' : `${digits(low)} to ${digits(high)}`;

/** One line that describes a cell in full. */
export function cellDescription(
  cell: MatrixCell | undefined,
  foundOn: string,
  evaluatedOn: string,
  pairs: number,
): string {
  if (!cell) return '';
  return (
    `Found on ${foundOn}, knocked out on ${evaluatedOn}: ${digits(cell.value)} (95 %: ${range(cell.low, cell.high)}), ` +
    `random heads ${digits(cell.control)} (95 % of draws: ${range(cell.drawsLow, cell.drawsHigh)}), ` +
    `nothing removed ${digits(cell.plain)}; n = ${plural(pairs, 'pair')}.`
  );
}

/** Short lines for the cell itself: its interval and its random control. */
export function cellLines(cell: MatrixCell | undefined): string[] {
  if (!cell) return [];
  const random = cell.control === null ? null : `random ${digits(cell.control)}`;
  return [range(cell.low, cell.high), random, random && range(cell.drawsLow, cell.drawsHigh)].filter(
    (line) => line !== null,
  );
}

export type Scale = 'share' | 'difference' | 'correlation';

/** The end of a scale that is symmetric around 0: the largest absolute value, or 1 for a correlation. */
export function scaleEnd(values: readonly (readonly (number | null)[])[], scale: Scale): number {
  if (scale !== 'difference') return 1;
  const largest = Math.max(0, ...values.flat().map((value) => Math.abs(value ?? 0)));
  return largest > 0 ? largest : 1;
}

export interface CellPosition {
  row: number;
  column: number;
}

/** The cell that a key leads to from this one; null for other keys and beyond the edge. */
export function neighbour(
  { row, column }: CellPosition,
  key: string,
  values: readonly (readonly unknown[])[],
): CellPosition | null {
  const steps: Record<string, CellPosition> = {
    ArrowUp: { row: row - 1, column },
    ArrowDown: { row: row + 1, column },
    ArrowLeft: { row, column: column - 1 },
    ArrowRight: { row, column: column + 1 },
    Home: { row, column: 0 },
    End: { row, column: (values[row]?.length ?? 0) - 1 },
  };
  const next = steps[key];
  return next && values[next.row] !== undefined && next.column in (values[next.row] ?? []) ? next : null;
}
