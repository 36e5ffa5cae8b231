// Progress of a run on the page of its result: a line, a bar, an ETA, and the state of a cancellation.
import { edit, experiment as readRow, health, retry as askRetry } from '../../api/client';
import type { Experiment, Priority, Problem } from '../../api/wire';
import { CHOICES } from '../../api/vocabulary';
import { kindOf } from '../../kinds';
import { valuesOf } from '../../model/fields';
import type { RunSnapshot } from '../../model/run';
import { navigate } from '../../nav';
import { page } from '../../root';
import { totalOf, cancelledLine, isFinal, progressLine, share, unitOf } from '../../text/experiment';
import { capital, duration } from '../../text/numbers';
import { kindName } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Field, Notice, ErrorMessage, problemOf } from '../../ui/parts';
import { useEffect, useState } from 'preact/hooks';

export function RunProgress({ seen, put }: { seen: RunSnapshot; put: (experiment: Experiment) => void }) {
  const { experiment, link, partial } = seen;
  const { state, progress } = experiment;
  const part = share(progress);
  const kind = kindOf(experiment.kind);
  const under = kind?.smallestPart ?? 'batch';
  const line = experiment.cancel_requested
    ? `cancelling: finishing the current ${under}`
    : progressLine(state, progress);
  const detailsAt = line.search(/ \(layer|: (steps|questions)/);
  const spokenLength = detailsAt < 0 ? line.length : detailsAt;
  const left = useCountdown(state === 'running' && !experiment.cancel_requested ? (progress.eta_s ?? null) : null);
  return (
    <section class="progress" aria-label="Progress">
      <p class="line">
        {/* Told aloud when the stage or the pairs change, not at every layer or step. */}
        <span data-testid="progress-line">
          <span role="status">{line.slice(0, spokenLength)}</span>
          {line.slice(spokenLength)}
        </span>
        {left !== null && <span class="faint"> about {duration(left)} left</span>}
        {partial && (
          <span class="faint">
            {' '}
            · mean over {partial.n_pairs} of {totalOf(experiment)} pairs
          </span>
        )}
      </p>
      <progress
        max={1}
        {...(part === null ? {} : { value: part })}
        aria-label={kind?.progressLabel ?? `${capital(unitOf(experiment.spec))}s finished`}
      />
      {link === 'polling' && (
        <p class="faint">Live updates are interrupted; the page checks every two seconds instead.</p>
      )}
      {link === 'unreachable' && (
        <Notice tone="warn">
          The server cannot be reached. The run continues without this page, which keeps retrying.
        </Notice>
      )}
      {state === 'queued' && <PriorityChoice experiment={experiment} put={put} />}
      {state === 'queued' && <NoWorker />}
    </section>
  );
}

const { Priority: PRIORITIES } = CHOICES;

/** The priority of a queued run. */
function PriorityChoice({ experiment, put }: { experiment: Experiment; put: (experiment: Experiment) => void }) {
  const [error, setError] = useState<Problem | null>(null);
  const choose = async (priority: Priority) => {
    try {
      put(await edit(experiment.id, { priority }));
      setError(null);
    } catch (reason) {
      setError(problemOf(reason));
    }
  };
  return (
    <>
      <Field label="Priority" class="inline turn">
        {(id) => (
          <select
            id={id}
            value={experiment.priority ?? 'normal'}
            onChange={(event) => void choose(event.currentTarget.value as Priority)}
          >
            {valuesOf(PRIORITIES).map((value) => (
              <option key={value} value={value}>
                {PRIORITIES[value].label}: {PRIORITIES[value].help}
              </option>
            ))}
          </select>
        )}
      </Field>
      {error && <ErrorMessage problem={error} />}
    </>
  );
}

/** Seconds left, counted down from the newest estimate until the next one arrives. */
function useCountdown(estimate: number | null): number | null {
  const [since, setSince] = useState({ estimate, at: Date.now() });
  const [, tick] = useState(0);
  useEffect(() => {
    setSince({ estimate, at: Date.now() });
    if (estimate === null) return undefined;
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, [estimate]);
  return since.estimate === null ? null : Math.max(0, since.estimate - (Date.now() - since.at) / 1000);
}

function NoWorker() {
  const { data } = useLoad('health of workers', health, 5_000);
  return data && data.workers.length === 0 ? (
    <Notice tone="warn">
      No worker is running, so this run is waiting. It starts as soon as there is one: arithmoscope worker
    </Notice>
  ) : null;
}

/** The ending of a run that did not succeed, with a button to run it again. */
export function Ending({
  experiment,
  kept,
  reload,
}: {
  experiment: Experiment;
  kept: number | null;
  reload: () => void;
}) {
  if (!isFinal(experiment.state) || experiment.state === 'succeeded') return null;
  if (experiment.state === 'failed') {
    const problem: Problem = experiment.error ?? {
      title: `The ${kindName(experiment.kind)} failed`,
      status: 500,
      detail: 'No reason was recorded.',
      way_out: 'Check the worker’s log, then run it again.',
    };
    return (
      <ErrorMessage problem={problem}>
        <Retry id={experiment.id} label="Retry" reload={reload} />
      </ErrorMessage>
    );
  }
  return (
    <div class="notice plain" role="status">
      {cancelledLine(experiment.spec, kept, totalOf(experiment))}{' '}
      <Retry id={experiment.id} label={kept ? 'Run the rest' : 'Run again'} reload={reload} />
    </div>
  );
}

function Retry({ id, label, reload }: { id: string; label: string; reload: () => void }) {
  const [error, setError] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const ask = async () => {
    setBusy(true);
    try {
      const next = await askRetry(id);
      if (next.id === id) reload();
      else navigate(page(`analyses/${next.id}`));
    } catch (reason) {
      setError(problemOf(reason));
      // It may have been restarted elsewhere: then the row says so.
      void readRow(id).then(
        (row) => !isFinal(row.state) && reload(),
        () => undefined,
      );
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" disabled={busy} onClick={() => void ask()}>
        {label}
      </button>
      {error && <ErrorMessage problem={error} />}
    </>
  );
}
