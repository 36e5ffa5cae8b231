// Attention by role as table rows: one part of the prompt at a time, or both operands together.
import type { Role, Schema } from '../api/wire';
import { cellOf, type EffectTable } from './effects';
import { parseComponent } from './component';

export type RoleReport = Schema<'RoleReport'>;
export type HeadClass = Schema<'HeadRoles'>['head_class'];

/** 'operands': both together, by which heads are classified. */
export type AttendedPart = Role | 'operands';

export interface RoleRow {
  component: string;
  headClass: HeadClass;
  /** Mean effect of the component by the selected metric. */
  effect: number | null;
  mass: number;
  low: number | null;
  high: number | null;
  baseline: number;
  /** Reference run minus counterfactual run. */
  difference: number;
}

const partsOf = (report: Pick<RoleReport, 'roles'>, looked: AttendedPart): number[] =>
  report.roles.flatMap((role, i) =>
    role === looked || (looked === 'operands' && (role === 'operand_a' || role === 'operand_b')) ? [i] : [],
  );

const sum = (values: readonly number[], parts: readonly number[]): number =>
  parts.reduce((total, i) => total + (values[i] ?? 0), 0);

export function averageHead(report: RoleReport, looked: AttendedPart): number {
  return sum(report.average_head, partsOf(report, looked));
}

export type RoleSort = 'effect' | 'mass' | 'difference' | 'component';

/** The heads in the chosen order: most negative effect, or most attention, first. */
export function roleRows(report: RoleReport, table: EffectTable, looked: AttendedPart, sort: RoleSort): RoleRow[] {
  const parts = partsOf(report, looked);
  const alone = parts.length === 1 ? parts[0] : undefined;
  const rows = report.heads.map((head): RoleRow => {
    const component = parseComponent(head.component);
    return {
      component: head.component,
      headClass: head.head_class,
      effect: (component && cellOf(table, component)?.mean) ?? null,
      mass: sum(head.mass, parts),
      // Intervals of parts do not add up.
      low: alone === undefined ? null : (head.ci_low[alone] ?? null),
      high: alone === undefined ? null : (head.ci_high[alone] ?? null),
      baseline: sum(head.baseline, parts),
      difference: sum(head.difference, parts),
    };
  });
  const by: Record<RoleSort, (row: RoleRow) => number> = {
    effect: (row) => (table.direction === 'denoising' ? -1 : 1) * (row.effect ?? Infinity),
    mass: (row) => -row.mass,
    difference: (row) => -Math.abs(row.difference),
    component: () => 0,
  };
  // Ties keep the report's order, layer by layer.
  return rows
    .map((row, i) => ({ row, i }))
    .sort((a, b) => compare(by[sort](a.row), by[sort](b.row)) || a.i - b.i)
    .map(({ row }) => row);
}

const compare = (a: number, b: number): number => (a === b ? 0 : a < b ? -1 : 1);

/** One row per head and role, with all controls. */
export function roleTable(
  report: RoleReport,
  table: EffectTable,
): { head: string[]; rows: (string | number | null)[][] } {
  return {
    head: [
      'component',
      'class',
      `effect_${table.metric}`,
      'role',
      'mass',
      'ci_low',
      'ci_high',
      'average_head',
      'baseline',
      'difference',
      'n_prompts',
    ],
    rows: report.heads.flatMap((head) => {
      const component = parseComponent(head.component);
      const effect = (component && cellOf(table, component)?.mean) ?? null;
      return report.roles.map((role, i) => [
        head.component,
        head.head_class,
        effect,
        role,
        head.mass[i] ?? null,
        head.ci_low[i] ?? null,
        head.ci_high[i] ?? null,
        report.average_head[i] ?? null,
        head.baseline[i] ?? null,
        head.difference[i] ?? null,
        report.prompts,
      ]);
    }),
  };
}
