// What was tuned of the components of an analysis, newest first, with the way to more.
import { childrenOf } from '../../api/client';
import type { Result } from '../../api/wire';
import { spell, type Component } from '../../model/component';
import { tuneFrom } from '../../model/tuneAddress';
import { page } from '../../root';
import { DEFAULT_TOP_K, listWords } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Link, TroubleBlock } from '../../ui/parts';
import { useChanges } from '../../ui/undo';
import { ExperimentTable } from '../experiment/table';

export function Tunings({ id, result, pins }: { id: string; result: Result; pins: readonly Component[] }) {
  const list = useLoad(`tunings ${id}`, (signal) => childrenOf(id, signal), 10_000);
  useChanges(list.again);
  const items = (list.data?.items ?? []).filter(({ kind }) => kind === 'fine_tune');
  const names = pins.map(spell);
  const to = (components: readonly string[]) => page(tuneFrom({ id, model: result.model.id }, components));
  return (
    <>
      {list.trouble && !list.data && <TroubleBlock problem={list.trouble} />}
      {list.data && items.length === 0 && <p class="faint">No fine-tunings yet.</p>}
      <ExperimentTable items={items} label="Fine-tunings of this analysis" ways={false} />
      <p class="row">
        {names.length > 0 && (
          <Link to={to(names)} class="button">
            Fine-tune {names.length === 1 ? names[0] : `the pins (${listWords(names)})`}
          </Link>
        )}
        <Link to={to([])} class="button">
          Fine-tune the top {DEFAULT_TOP_K}
        </Link>
      </p>
    </>
  );
}
