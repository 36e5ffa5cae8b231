// Knock-outs and transfers of an analysis, newest first, with the form for another. Fine-tunings have their own list.
import { childrenOf } from '../../api/client';
import type { PanelProps } from '../../panels';
import { page } from '../../root';
import { useLoad } from '../../ui/hooks';
import { Link, ErrorMessage } from '../../ui/parts';
import { useListChanges } from '../../ui/undo';
import { ExperimentTable } from '../experiment/experimentTable';
import { KnockoutForm } from './form';

export function KnockoutList({ id, result, view: { metric, pins } }: PanelProps) {
  const list = useLoad(`children ${id}`, (signal) => childrenOf(id, signal), 10_000);
  useListChanges(list.reload);
  const items = (list.data?.items ?? []).filter(({ kind }) => kind !== 'fine_tune');
  return (
    <>
      {list.error && !list.data && <ErrorMessage problem={list.error} />}
      {list.data && items.length === 0 && <p class="faint">No knock-outs yet.</p>}
      <ExperimentTable items={items} label="Knock-outs of this analysis" />
      <KnockoutForm id={id} result={result} metric={metric} pins={pins} />
      <p class="faint">
        Do these heads matter on other kinds of prompts?{' '}
        <Link to={page(`transfer?model=${encodeURIComponent(result.model.id)}&parent=${encodeURIComponent(id)}`)}>
          Transfer
        </Link>
      </p>
    </>
  );
}
