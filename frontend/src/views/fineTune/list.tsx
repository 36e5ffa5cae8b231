// Fine-tunings of the components of an analysis, newest first, with links to new ones.
import { childrenOf } from '../../api/client';
import { DEFAULT_TOP_K } from '../../api/vocabulary';
import { componentName } from '../../model/component';
import { fineTuneUrlFrom } from '../../model/fineTuneUrl';
import type { PanelProps } from '../../panels';
import { page } from '../../root';
import { shortList } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Link, ErrorMessage } from '../../ui/parts';
import { useListChanges } from '../../ui/undo';
import { ExperimentTable } from '../experiment/experimentTable';

export function FineTuneList({ id, result, view: { pins } }: PanelProps) {
  const list = useLoad(`tunings ${id}`, (signal) => childrenOf(id, signal), 10_000);
  useListChanges(list.reload);
  const items = (list.data?.items ?? []).filter(({ kind }) => kind === 'fine_tune');
  const names = pins.map(componentName);
  const to = (components: readonly string[]) => page(fineTuneUrlFrom({ id, model: result.model.id }, components));
  return (
    <>
      {list.error && !list.data && <ErrorMessage problem={list.error} />}
      {list.data && items.length === 0 && <p class="faint">No fine-tunings yet.</p>}
      <ExperimentTable items={items} label="Fine-tunings of this analysis" ways={false} />
      <p class="row">
        {names.length > 0 && (
          <Link to={to(names)} class="button">
            Fine-tune {names.length === 1 ? names[0] : `the pins (${shortList(names)})`}
          </Link>
        )}
        <Link to={to([])} class="button">
          Fine-tune the top {DEFAULT_TOP_K}
        </Link>
      </p>
    </>
  );
}
