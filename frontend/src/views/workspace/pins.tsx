// The components that are kept while one looks at others: what can be knocked out together.
import { spell, type Component } from '../../model/component';

export function Pins({
  pins,
  onSelect,
  onPins,
}: {
  pins: readonly Component[];
  onSelect: (component: Component) => void;
  onPins: (pins: readonly Component[]) => void;
}) {
  return (
    <section class="pins" aria-label="Pins">
      <h2>Pins</h2>
      <ul>
        {pins.map((pin) => (
          <li key={spell(pin)}>
            <button type="button" class="pick" onClick={() => onSelect(pin)}>
              {spell(pin)}
            </button>
            <button
              type="button"
              class="quiet"
              aria-label={`Unpin ${spell(pin)}`}
              onClick={() => onPins(pins.filter((each) => each !== pin))}
            >
              ×
            </button>
          </li>
        ))}
      </ul>
      <button type="button" class="quiet" onClick={() => onPins([])}>
        Unpin all
      </button>
    </section>
  );
}
