// What the pages of all kinds have in common: what they are given, and how a run is told.
import type { Address } from '../../nav';
import { isFinal } from '../../text/experiment';
import { ErrorMessage } from '../../ui/parts';
import { Ending, RunProgress } from './progress';
import type { Run } from './useRun';

/** What every kind of page is given. */
export interface ExperimentViewProps {
  run: Run & { seen: NonNullable<Run['seen']> };
  id: string;
  address: Address;
}

/** What stands above every result: where the run is, how it ended, and what went wrong on the way. */
export function RunState({ run, kept }: { run: ExperimentViewProps['run']; kept: number | null }) {
  const { experiment } = run.seen;
  const done = isFinal(experiment.state);
  return (
    <>
      {!done && <RunProgress seen={run.seen} put={run.put} />}
      <Ending experiment={experiment} kept={kept} reload={run.reload} />
      {run.error && (
        <ErrorMessage problem={run.error}>
          <button type="button" onClick={run.reload}>
            Try again
          </button>
        </ErrorMessage>
      )}
      {done && !run.result && !run.empty && !run.error && <p class="faint">Loading the result…</p>}
    </>
  );
}
