// The newest experiments of every kind, and recently deleted ones.
import { useState } from 'preact/hooks';
import { deletedExperiments, restore } from '../../api/client';
import type { Experiment, ExperimentList, Problem } from '../../api/wire';
import { ago } from '../../text/numbers';
import { modelOf, nameOf } from '../../text/titles';
import { useLoad, type Loaded } from '../../ui/hooks';
import { ErrorMessage, problemOf } from '../../ui/parts';
import { announceChange, useListChanges } from '../../ui/undo';
import { ExperimentTable } from '../experiment/experimentTable';

export function Recent({ list }: { list: Loaded<ExperimentList> }) {
  const items = list.data?.items ?? [];
  return (
    <section class="recent" aria-label="Recent analyses">
      <h2>Recent analyses</h2>
      {list.error && !list.data && <ErrorMessage problem={list.error} />}
      {list.data && items.length === 0 && <p class="faint">None yet. The prompt above is ready to run.</p>}
      <ExperimentTable items={items} label="Analyses" first="Analysis" modelOf={(item) => modelOf(item, items)} />
      <RecentlyDeleted />
    </section>
  );
}

/** Hidden while there is nothing to restore. */
function RecentlyDeleted() {
  const list = useLoad('deleted', (signal) => deletedExperiments(20, signal), 30_000);
  useListChanges(list.reload);
  const items = list.data?.items ?? [];
  if (items.length === 0) return null;
  return (
    <details class="fold deleted">
      <summary>Recently deleted ({list.data?.next_cursor ? `the newest ${items.length}` : items.length})</summary>
      <ul>
        {items.map((item) => (
          <Deleted key={item.id} item={item} />
        ))}
      </ul>
      <p class="faint">Each can be restored for a day; then it is removed for good.</p>
    </details>
  );
}

function Deleted({ item }: { item: Experiment }) {
  const [error, setError] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const back = async () => {
    setBusy(true);
    try {
      await restore(item.id);
      announceChange();
    } catch (reason) {
      setError(problemOf(reason));
      setBusy(false);
    }
  };
  return (
    <li>
      <button type="button" class="quiet" disabled={busy} onClick={() => void back()}>
        Restore<span class="unseen"> {nameOf(item)}</span>
      </button>{' '}
      <bdi>{nameOf(item)}</bdi>{' '}
      {item.deleted_at && <span class="faint">deleted {ago(new Date(item.deleted_at), new Date())}</span>}
      {error && <ErrorMessage problem={error} />}
    </li>
  );
}
