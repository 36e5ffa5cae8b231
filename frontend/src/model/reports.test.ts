import { describe, expect, it } from 'vitest';
import type { TransferMatrix } from '../api/results';
import type { Result, Schema } from '../api/wire';
import { csv } from '../text/csv';
import { fromResult, type EffectTable } from './effects';
import { countHeads, topComponents } from './keyComponents';
import { cellLines, cellsOf, cellDescription, scaleEnd, subtract, neighbour } from './transferMatrix';
import { averageHead, roleRows, roleTable, type RoleReport } from './roleTable';

describe('key components', () => {
  it('are counted, with their share of all heads', () => {
    expect(countHeads(['L1H1', 'MLP1', 'L2H0'], { heads: 8 })).toMatchObject({ heads: 2, share: 0.25 });
    expect(countHeads([], { heads: 0 }).share).toBeNull();
  });
  it('are the top k with a harmful effect, or with a restoring effect under denoising', () => {
    const row = (component: string, mean: number | null) => ({ component, mean, p_value: null, q_value: null });
    const rows = [row('L1H1', -3), row('MLP0', -1), row('L1H0', 0), row('MLP1', 2), row('L0H0', null)];
    expect(topComponents({ rows: rows.toReversed() }, 9, true)).toEqual(['MLP1']);
    expect(topComponents({ rows }, 2)).toEqual(['L1H1', 'MLP0']);
    expect(topComponents({ rows }, 9)).toEqual(['L1H1', 'MLP0']);
    expect(topComponents({ rows }, -1)).toEqual([]);
  });
});

const head = (component: string, mass: number[], difference = 0): Schema<'HeadRoles'> => ({
  component,
  head_class: 'neither',
  mass,
  ci_low: mass.map((value) => value - 0.1),
  ci_high: mass.map((value) => value + 0.1),
  difference: mass.map(() => difference),
  baseline: [0.4, 0.2, 0.2, 0.2],
});
const REPORT: RoleReport = {
  roles: ['first', 'operand_a', 'operator', 'operand_b'],
  prompts: 12,
  times: 2,
  average_head: [0.7, 0.1, 0.1, 0.1],
  heads: [
    head('L0H0', [0.7, 0.1, 0.1, 0.1]),
    head('L0H1', [0.1, 0.4, 0.2, 0.3], -0.5),
    head('L1H0', [0, 0, 1, 0], 0.1),
  ],
};
const numbers = { std: [], ci_low: [], ci_high: [] };
const TABLE = fromResult(
  {
    spec: { effect: 'direct' },
    model: { layers: 2, heads: 2, kv_heads: 2 },
    metrics: {
      logit: {
        n_pairs: 12,
        heads: {
          mean: [
            [1, -2],
            [-5, null],
          ],
          ...numbers,
        },
        mlps: { mean: [[0], [0]], ...numbers },
      },
    },
  } as unknown as Result,
  'logit',
) as EffectTable;

describe('attention by role', () => {
  it('sums both operands, without an interval', () => {
    const rows = roleRows(REPORT, TABLE, 'operands', 'mass');
    expect(rows.map(({ component }) => component)).toEqual(['L0H1', 'L0H0', 'L1H0']);
    expect(rows[0]).toMatchObject({ low: null, high: null, baseline: 0.4, effect: -2 });
    expect(rows[0]?.mass).toBeCloseTo(0.7);
    expect(averageHead(REPORT, 'operands')).toBeCloseTo(0.2);
  });
  it('has an interval for a single role', () => {
    const [row] = roleRows(REPORT, TABLE, 'operator', 'mass');
    expect(row).toMatchObject({ component: 'L1H0', mass: 1, low: 0.9, high: 1.1 });
  });
  it('is sorted by the most negative effect, the largest difference or the component', () => {
    const names = (sort: 'effect' | 'difference' | 'component') =>
      roleRows(REPORT, TABLE, 'first', sort).map(({ component }) => component);
    expect(names('effect')).toEqual(['L1H0', 'L0H1', 'L0H0']);
    expect(names('difference')).toEqual(['L0H1', 'L1H0', 'L0H0']);
    expect(names('component')).toEqual(['L0H0', 'L0H1', 'L1H0']);
  });
  it('is exported with a row for every head and role', () => {
    const { head: names, rows } = roleTable(REPORT, TABLE);
    expect(rows).toHaveLength(REPORT.heads.length * REPORT.roles.length);
    expect(new Set(rows.map((row) => row.length))).toEqual(new Set([names.length]));
  });
});

describe('a CSV file', () => {
  it('escapes cells that a spreadsheet would run as formulas and keeps numbers', () => {
    expect(
      csv(
        ['a', 'b'],
        [
          ['=1+1', -2],
          ['+x', null],
          ['a,"b"', NaN],
        ],
      ),
    ).toBe('a,b\r\n\'=1+1,-2\r\n\'+x,\r\n"a,""b""",\r\n');
  });
});

describe('the transfer matrix', () => {
  const matrix: TransferMatrix = {
    unit: 'share',
    plain: [0.9, null],
    value: [[0.2, null]],
    ci_low: [[0.1, null]],
    ci_high: [[0.3, null]],
    control: [[0.8, 0.5]],
    draws_low: [[0.7, null]],
    draws_high: [[0.85, null]],
  };
  it('describes a cell in full, with n/a for missing values', () => {
    const [row] = cellsOf(matrix);
    expect(cellDescription(row?.[0], 'addition', 'facts', 1)).toBe(
      'Found on addition, knocked out on facts: 0.200 (95 %: 0.100 to 0.300), random heads 0.800 ' +
        '(95 % of draws: 0.700 to 0.850), nothing removed 0.900; n = 1 pair.',
    );
    expect(cellDescription(row?.[1], 'a', 'b', 2)).toContain('n/a (95 %: no interval)');
  });
  it('shows the interval and the random-head control in each cell', () => {
    const [row] = cellsOf(matrix);
    expect(cellLines(row?.[0])).toEqual(['0.100 to 0.300', 'random 0.800', '0.700 to 0.850']);
    expect(cellLines(undefined)).toEqual([]);
  });
  it('is navigated with the arrow keys and stops at the edges', () => {
    const at = (row: number, column: number) => ({ row, column });
    expect(neighbour(at(0, 0), 'ArrowRight', matrix.value)).toEqual(at(0, 1));
    expect(neighbour(at(0, 0), 'End', matrix.value)).toEqual(at(0, 1));
    for (const key of ['ArrowUp', 'ArrowLeft', 'ArrowDown', 'x'])
      expect(neighbour(at(0, 0), key, matrix.value)).toBeNull();
  });
  it('has no value after subtracting the control if either is missing', () => {
    const [[first, second] = []] = subtract(matrix.value, matrix.control);
    expect(first).toBeCloseTo(-0.6);
    expect(second).toBeNull();
  });
  it('has a scale that ends at the largest difference, or at 1 for correlations', () => {
    expect(scaleEnd([[-0.6, 0.2, null]], 'difference')).toBe(0.6);
    expect(scaleEnd([[null, 0]], 'difference')).toBe(1);
    expect(scaleEnd([[0.1]], 'correlation')).toBe(1);
  });
});
