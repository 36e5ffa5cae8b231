// The experiments on the components of an analysis, newest first.
import { childrenOf } from '../../api/client';
import { useLoad } from '../../ui/hooks';
import { ErrorMessage } from '../../ui/parts';
import { useListChanges } from '../../ui/undo';
import { ExperimentTable } from './experimentTable';

export function Children({
  id,
  has,
  label,
  none,
  ways,
}: {
  /** The analysis. */
  id: string;
  /** The kinds that are listed. */
  has: (kind: string) => boolean;
  label: string;
  none: string;
  /** Whether their methods differ. */
  ways: boolean;
}) {
  const list = useLoad(`children ${id}`, (signal) => childrenOf(id, signal), 10_000);
  useListChanges(list.reload);
  const items = (list.data?.items ?? []).filter(({ kind }) => has(kind));
  return (
    <>
      {list.error && !list.data && <ErrorMessage problem={list.error} />}
      {list.data && items.length === 0 && <p class="faint">{none}</p>}
      <ExperimentTable items={items} label={label} ways={ways} />
    </>
  );
}
