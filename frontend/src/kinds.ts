// The kinds of experiment that this page knows. The index of a folder of views exports one as `kind`; registry.ts
// collects them.
import type { FunctionComponent } from 'preact';
import type { AnySpec, Experiment } from './api/wire';
import type { ExperimentViewProps } from './model/run';
import type { Address } from './nav';
import type { AnalysisPanel } from './panels';

type Row = Pick<Experiment, 'state' | 'progress' | 'error'>;

export interface ExperimentKind<Spec extends AnySpec = AnySpec, Result extends object = object> {
  /** The `kind` of its specs. */
  kind: string;
  /** The title of an experiment: "Knock-out of the top 10". `kept`: pairs in the result. */
  title(spec: Spec, kept?: number): string;
  /** The method in short, for a narrow column: "knock-out, mean". */
  method(spec: Spec): string;
  /** The page of an experiment. */
  Page: FunctionComponent<ExperimentViewProps>;
  /** The form of a new experiment, if it has a page of its own: `path` is its address. */
  form?: { path: string; Form: FunctionComponent<{ address: Address }> };
  /** A folded panel of an analysis: the experiments on its components. */
  panel?: AnalysisPanel;
  /** What a run counts; pairs by default. */
  unit?: string;
  /** What a cancelled run still finishes; the batch by default. */
  smallestPart?: string;
  /** Label of the progress bar; "Pairs finished" by default. */
  progressLabel?: string;
  /** Total number of units of a run that does not report it; null if only the run will know. */
  total?(spec: Spec): number | null;
  /** True if the run reports other totals than that of its units. */
  totalFromSpec?: boolean;
  /** False if a run that did not succeed cannot have a result; by default it has one if it was cancelled after a unit. */
  mayHaveResult?(row: Row): boolean;
  /** What remains of a cancelled run, after "Cancelled after 3 of 12 sets". */
  remains?(kept: number): string;
  /** Number of pairs in a result, for the title. */
  pairsIn?(result: Result): number;
}

const KINDS = new Map<string, ExperimentKind>();

export function addKinds(rows: readonly ExperimentKind[]): void {
  for (const row of rows) KINDS.set(row.kind, row);
}

export const kinds = (): ExperimentKind[] => [...KINDS.values()];

/** The kind with this name; undefined if a newer server knows it and this page does not. */
export const kindOf = (kind: string): ExperimentKind | undefined => KINDS.get(kind);
