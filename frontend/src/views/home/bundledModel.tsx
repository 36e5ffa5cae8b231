// The small model that comes with Arithmoscope: offered for a first analysis, and described once it is chosen.
import type { ModelCard } from '../../api/wire';
import { BUNDLED_PROMPT, bundledModel } from '../../model/analysisForm';

export function BundledModelHint({
  cards,
  chosen,
  offer,
  pick,
}: {
  cards: readonly ModelCard[];
  chosen: ModelCard | null;
  /** False while the form holds no single prompt that an example could replace. */
  offer: boolean;
  pick: (model: ModelCard) => void;
}) {
  if (chosen?.source === 'bundled')
    return (
      <p class="faint">
        A tiny model that we trained to add, ready to use: an analysis takes about a second. It is an example; what is
        found in it is no evidence about language models.
      </p>
    );
  const model = bundledModel(cards);
  if (!model || !offer) return null;
  return (
    <p class="faint">
      For a first look:{' '}
      <button type="button" class="quiet" onClick={() => pick(model)}>
        Try {BUNDLED_PROMPT} with a tiny model that can add
      </button>{' '}
      An analysis takes about a second.
    </p>
  );
}
