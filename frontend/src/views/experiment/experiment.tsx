// The page of an experiment: reads its row and opens the view of its kind.
import { useEffect, useState } from 'preact/hooks';
import { restore } from '../../api/client';
import type { Problem } from '../../api/wire';
import { kindOf } from '../../kinds';
import type { ExperimentViewProps } from '../../model/run';
import type { Address } from '../../nav';
import { page } from '../../root';
import { kindName, nameOf } from '../../text/titles';
import { Link, Notice, ErrorMessage, problemOf } from '../../ui/parts';
import { ExperimentHeader } from './header';
import { RunState } from './runState';
import { useRun } from './useRun';

export function ExperimentPage({ id, address }: { id: string; address: Address }) {
  const run = useRun(id);
  const { seen, result, error } = run;
  const row = seen?.experiment;
  const kind = row && kindOf(row.kind);
  const kept = result ? kind?.pairsIn?.(result) : undefined;
  const windowTitle = row ? nameOf(row, kept) : 'Analysis';
  useEffect(() => {
    document.title = `${windowTitle} · Arithmoscope`;
  }, [windowTitle]);

  if (!seen || !row) {
    return (
      <div class="narrow">
        <h1 tabIndex={-1}>Analysis</h1>
        {error ? (
          <ErrorMessage problem={error}>
            <p>
              <Link to={page('')}>Go to the home page</Link>
            </p>
          </ErrorMessage>
        ) : (
          <p class="faint">Loading…</p>
        )}
      </div>
    );
  }
  if (seen.link === 'gone') return <Gone id={id} kind={row.kind} name={nameOf(row)} reload={run.reload} />;
  const opened = { run: { ...run, seen }, id, address };
  const View = kind?.Page ?? Unknown;
  return <View {...opened} />;
}

/** A kind that a newer server knows and this page does not: name, state and deletion still work. */
function Unknown({ run, address }: ExperimentViewProps) {
  const { experiment } = run.seen;
  return (
    <div class="workspace">
      <ExperimentHeader experiment={experiment} put={run.put} />
      {address.note && <Notice>{address.note}</Notice>}
      <RunState run={run} kept={experiment.progress.done} />
      <Notice tone="warn">
        This page cannot show experiments of kind “{kindName(experiment.kind)}”. Reload it: the server may be newer than
        the page. The result is available from the API.
      </Notice>
    </div>
  );
}

/** Shown when the experiment was deleted while it was open, here or elsewhere. */
function Gone({ id, kind, name, reload }: { id: string; kind: string; name: string; reload: () => void }) {
  const [error, setError] = useState<Problem | null>(null);
  const back = () =>
    restore(id).then(
      () => reload(),
      (reason: unknown) => setError(problemOf(reason)),
    );
  return (
    <div class="narrow">
      <h1 tabIndex={-1}>
        <bdi>{name}</bdi>
      </h1>
      <Notice>This {kindName(kind)} was deleted. It can be restored within a day.</Notice>
      <div class="row">
        <button type="button" onClick={() => void back()}>
          Restore
        </button>
        <Link to={page('')}>Go to the home page</Link>
      </div>
      {error && <ErrorMessage problem={error} />}
    </div>
  );
}
