// A run as its page shows it, and the props that the pages of all kinds share.
import type { TrainingCurve } from '../api/fineTune';
import type { Experiment, PartialMeans, Problem } from '../api/wire';
import type { Address } from '../nav';

/** 'gone': it was deleted meanwhile. */
export type ConnectionState = 'streaming' | 'polling' | 'unreachable' | 'gone';

export interface RunSnapshot {
  experiment: Experiment;
  partial: PartialMeans | null;
  /** The training curve so far. */
  training?: TrainingCurve | null;
  link: ConnectionState;
  /** True if the row was just read, so that it includes what only actions change. */
  read?: boolean;
}

export interface Run {
  seen: RunSnapshot | null;
  /** Its type follows from the kind of experiment. */
  result: object | null;
  /** It ended without a result, so there is none to wait for. */
  empty: boolean;
  /** Why there is no row, or no result where there should be one. */
  error: Problem | null;
  /** Starts over from the row: after a retry, or by hand after an error. */
  reload: () => void;
  /** Applies the row that an action returned. */
  put: (experiment: Experiment) => void;
}

/** Props of the page of every kind of experiment. */
export interface ExperimentViewProps {
  run: Run & { seen: NonNullable<Run['seen']> };
  id: string;
  address: Address;
}
