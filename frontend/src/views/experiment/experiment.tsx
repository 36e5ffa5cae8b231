// One experiment, of whatever kind: its row is read here, and its kind says which page it has.
import { useEffect, useState } from 'preact/hooks';
import { restore } from '../../api/client';
import type { Problem } from '../../api/wire';
import type { Address } from '../../nav';
import { page } from '../../root';
import { kindWord, nameOf } from '../../text/titles';
import { Link, Notice, TroubleBlock, troubleOf } from '../../ui/parts';
import { KnockoutPage } from '../knockout/knockout';
import { TransferPage } from '../transfer/transfer';
import { TuningPage } from '../tuning/tuning';
import { AnalysisPage } from '../workspace/workspace';
import { ExperimentHeader } from './header';
import { RunState, type OpenedProps } from './opened';
import { useRun } from './run';

export function ExperimentPage({ id, address }: { id: string; address: Address }) {
  const run = useRun(id);
  const { seen, result, trouble } = run;
  const row = seen?.experiment;
  const kept = result && 'pairs' in result ? result.pairs.length : undefined;
  const windowTitle = row ? nameOf(row, kept) : 'Analysis';
  useEffect(() => {
    document.title = `${windowTitle} · Arithmoscope`;
  }, [windowTitle]);

  if (!seen || !row) {
    return (
      <div class="narrow">
        <h1 tabIndex={-1}>Analysis</h1>
        {trouble ? (
          <TroubleBlock problem={trouble}>
            <p>
              <Link to={page('')}>Go to the home page</Link>
            </p>
          </TroubleBlock>
        ) : (
          <p class="faint">Loading…</p>
        )}
      </div>
    );
  }
  if (seen.link === 'gone') return <Gone id={id} kind={row.kind} name={nameOf(row)} again={run.again} />;
  const opened = { run: { ...run, seen }, id, address };
  if (row.kind === 'path_patching') return <AnalysisPage {...opened} />;
  if (row.kind === 'knockout') return <KnockoutPage {...opened} />;
  if (row.kind === 'transfer') return <TransferPage {...opened} />;
  if (row.kind === 'fine_tune') return <TuningPage {...opened} />;
  return <Unknown {...opened} />;
}

/** A kind that a newer server knows and this page does not: its row can be handled all the same. */
function Unknown({ run, address }: OpenedProps) {
  const { experiment } = run.seen;
  return (
    <div class="workspace">
      <ExperimentHeader experiment={experiment} put={run.put} />
      {address.note && <Notice>{address.note}</Notice>}
      <RunState run={run} kept={experiment.progress.done} />
      <Notice tone="warn">
        This page cannot show experiments of kind “{kindWord(experiment.kind)}”. Reload it: the server may be newer than
        the page. The result is available from the API.
      </Notice>
    </div>
  );
}

/** Somebody deleted it while it was looked at, here or elsewhere. */
function Gone({ id, kind, name, again }: { id: string; kind: string; name: string; again: () => void }) {
  const [trouble, setTrouble] = useState<Problem | null>(null);
  const back = () =>
    restore(id).then(
      () => again(),
      (reason: unknown) => setTrouble(troubleOf(reason)),
    );
  return (
    <div class="narrow">
      <h1 tabIndex={-1}>
        <bdi>{name}</bdi>
      </h1>
      <Notice>This {kindWord(kind)} was deleted. It can be restored within a day.</Notice>
      <div class="row">
        <button type="button" onClick={() => void back()}>
          Restore
        </button>
        <Link to={page('')}>Go to the home page</Link>
      </div>
      {trouble && <TroubleBlock problem={trouble} />}
    </div>
  );
}
