// The pins: a list of components kept while others are inspected.
import { componentName, type Component } from '../../model/component';
import { fineTuneUrlFrom } from '../../model/fineTuneUrl';
import { page } from '../../root';
import { Link } from '../../ui/parts';

export function Pins({
  analysis,
  pins,
  onSelect,
  onPins,
}: {
  /** The finished analysis, whose components can be fine-tuned; null while it runs. */
  analysis: { id: string; model: string } | null;
  pins: readonly Component[];
  onSelect: (component: Component) => void;
  onPins: (pins: readonly Component[]) => void;
}) {
  return (
    <section class="pins" aria-label="Pins">
      <h2>Pins</h2>
      <ul>
        {pins.map((pin) => (
          <li key={componentName(pin)}>
            <button type="button" class="pick" onClick={() => onSelect(pin)}>
              {componentName(pin)}
            </button>
            <button
              type="button"
              class="quiet"
              aria-label={`Unpin ${componentName(pin)}`}
              onClick={() => onPins(pins.filter((each) => each !== pin))}
            >
              ×
            </button>
          </li>
        ))}
      </ul>
      {analysis && (
        <Link to={page(fineTuneUrlFrom(analysis, pins.map(componentName)))} class="button">
          Fine-tune
        </Link>
      )}
      <button type="button" class="quiet" onClick={() => onPins([])}>
        Unpin all
      </button>
    </section>
  );
}
