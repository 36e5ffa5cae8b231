// State of a run, above every result.
import type { ExperimentViewProps } from '../../model/run';
import { isFinal } from '../../text/experiment';
import { ErrorMessage } from '../../ui/parts';
import { Ending, RunProgress } from './progress';

/** Progress while it runs, how it ended, and errors on the way. */
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
