// What is found with components once they are known: results of knock-outs and transfers, and the reports on demand.
// Written as contracts/outcomes.py and contracts/views.py say it.
import type { Grid, KnockMetric, KnockoutSpec, Metric, Result, Role, TransferSpec } from './wire';

export type Row = (number | null)[];
type Common = Pick<Result, 'experiment_id' | 'model' | 'complete' | 'notes' | 'provenance'>;

export interface KnockCurve {
  unit: string;
  mean: Row;
  ci_low: Row;
  ci_high: Row;
  control: Row;
  control_low: Row;
  control_high: Row;
  draws_low: Row;
  draws_high: Row;
  p_value: Row;
}

export interface KnockoutResult extends Common {
  kind: 'knockout';
  spec: KnockoutSpec;
  parent: string;
  components: string[];
  controls: string[][];
  unmatched: number;
  n_asked: number;
  n_distinct: number;
  n_pairs: number;
  shared_questions: number;
  dropped: Result['dropped'];
  curves: Partial<Record<KnockMetric, KnockCurve>>;
  elbow: number | null;
  checks: { noise_floor: number; spot_check_points: number; spot_check_pairs: number; spot_check_error: number };
}

export interface TransferSet {
  name: string;
  pairs: number;
  is_control: boolean;
}

export interface TransferMatrix {
  unit: string;
  plain: Row;
  value: Grid;
  ci_low: Grid;
  ci_high: Grid;
  control: Grid;
  draws_low: Grid;
  draws_high: Grid;
}

export interface TransferResult extends Common {
  kind: 'transfer';
  spec: TransferSpec;
  found_on: TransferSet[];
  evaluated_on: TransferSet[];
  selections: string[][];
  jaccard: Grid;
  rank_correlation: Grid;
  accuracy: TransferMatrix;
  probability: TransferMatrix;
}

/** Whatever the kind of the experiment. Results of analyses came first and are told by what the others are not. */
export type AnyResult = Result | KnockoutResult | TransferResult;

export interface KeyTable {
  metric: Metric;
  unit: string;
  questions: number;
  heads: number;
  rows: { component: string; mean: number | null; p_value: number | null; q_value: number | null }[];
  false_discovery: string[] | null;
  threshold_at: number | null;
  threshold: string[] | null;
}
export interface KeyReport {
  tables: KeyTable[];
}

export type HeadClass = 'operand' | 'operator' | 'neither';
export interface HeadRoles {
  component: string;
  head_class: HeadClass;
  mass: number[];
  ci_low: Row;
  ci_high: Row;
  difference: number[];
  baseline: number[];
}
export interface RoleReport {
  roles: Role[];
  prompts: number;
  times: number;
  average_head: number[];
  heads: HeadRoles[];
}

export interface LensLayer {
  layer: number;
  top: { token: string; probability: number }[];
  logit: number;
  probability: number;
  rank: number;
}
export interface LensReport {
  prompt: number;
  answer: string;
  layers: LensLayer[];
}

export interface StagesReport {
  prompts: number;
  probability: Row;
  rank: Row;
  operands: Row;
  operands_other: Row;
  answer: Row;
  answer_other: Row;
  start: number | null;
  inflection: number | null;
  end: number | null;
  start_interval: [number, number] | null;
  inflection_interval: [number, number] | null;
  end_interval: [number, number] | null;
  found: number;
}

export interface WritesReport {
  component: string;
  prompts: number;
  promoted: { token: string; logit: number }[];
  suppressed: { token: string; logit: number }[];
  answer: number;
}

/** What `POST /api/experiments` takes for a knock-out: what is left out is filled in by the server. */
export type AskedKnockout = Pick<KnockoutSpec, 'kind' | 'parent'> & Partial<KnockoutSpec>;
export type AskedTransfer = Pick<TransferSpec, 'kind' | 'model' | 'found_on' | 'evaluated_on'> & Partial<TransferSpec>;
