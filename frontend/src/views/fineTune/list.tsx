// Fine-tunings of the components of an analysis, newest first, with links to new ones.
import { DEFAULT_TOP_K } from '../../api/vocabulary';
import { componentName } from '../../model/component';
import { fineTuneUrlFrom } from '../../model/fineTuneUrl';
import type { PanelProps } from '../../panels';
import { page } from '../../root';
import { shortList } from '../../text/titles';
import { Link } from '../../ui/parts';
import { Children } from '../experiment/children';

const listed = (kind: string): boolean => kind === 'fine_tune';

export function FineTuneList({ id, result, view: { pins } }: PanelProps) {
  const names = pins.map(componentName);
  const to = (components: readonly string[]) => page(fineTuneUrlFrom({ id, model: result.model.id }, components));
  return (
    <>
      <Children id={id} has={listed} label="Fine-tunings of this analysis" none="No fine-tunings yet." ways={false} />
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
