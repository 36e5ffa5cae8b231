// Path patching of the same pairs before and after: three maps on one scale, and the components that changed most.
import { useMemo, useState } from 'preact/hooks';
import { fileAddress } from '../../api/client';
import type { FineTuneResult, Repatched } from '../../api/fineTune';
import { parseComponent, sameComponent, componentName, type Component } from '../../model/component';
import { cellOf, uncertain, type Cell, type EffectTable } from '../../model/effects';
import { mapsOf, largestChanges, type Maps } from '../../model/fineTuneReport';
import { navigate, type Address } from '../../nav';
import { effect, glyph, interval, signMeaning, plural } from '../../text/numbers';
import { ShowMore } from '../../ui/tables';
import { ComponentButton } from '../../ui/componentButton';
import { EffectsMap } from '../workspace/effectsMap';

const STEP = 20;
const NAMES: readonly (readonly [keyof Maps, string])[] = [
  ['before', 'Before'],
  ['after', 'After'],
  ['difference', 'Difference: after − before'],
];

interface RepatchingProps {
  result: FineTuneResult;
  repatched: Repatched;
  address: Address;
}

export function RepatchingPanel({ result, repatched, address }: RepatchingProps) {
  const maps = useMemo(() => mapsOf(result.model, repatched), [result, repatched]);
  const changes = useMemo(() => largestChanges(maps), [maps]);
  const [shown, setShown] = useState(STEP);
  const selected = selectedIn(address.search, maps.after);
  const trained = new Set(result.tunable.components);
  const touched = new Set(result.tunable.touched);
  // The selected component is in the address, as on the page of an analysis.
  const select = (component: Component | null) => {
    const query = new URLSearchParams(address.search);
    if (component && !sameComponent(component, selected)) query.set('sel', componentName(component));
    else query.delete('sel');
    const text = query.toString();
    navigate(`${location.pathname}${text ? `?${text}` : ''}`);
  };
  return (
    <section class="panel repatched" aria-label="Path patching again">
      <h2>Path patching again</h2>
      <p class="faint">
        The effect of every component on {plural(repatched.n_pairs, 'held-out pair')}, before and after, on one scale.
        The difference shows where the computation moved.
      </p>
      <div class="maps">
        {NAMES.map(([name, label]) => (
          <figure key={name} class="curves">
            <figcaption>
              <strong>{label}</strong>
            </figcaption>
            <EffectsMap
              table={maps[name]}
              selected={selected}
              onSelect={select}
              label={`Effects, ${label.toLowerCase()}`}
            />
          </figure>
        ))}
      </div>
      {selected && (
        <p class="details-line" data-testid="chosen" role="status">
          <strong class="mono">{componentName(selected)}</strong>
          {trained.has(componentName(selected)) && ' (trained)'}
          {touched.has(componentName(selected)) && ' (not chosen, shares trained weights)'}:{' '}
          {NAMES.map(([name]) => `${name} ${numbers(cellOf(maps[name], selected), maps[name])}`).join('; ')}.
        </p>
      )}
      <h3>Components whose effect changed most</h3>
      <div class="scroll" tabIndex={0} role="group" aria-label="Largest differences">
        <table>
          <thead>
            <tr>
              <th>Component</th>
              <th class="number">Before</th>
              <th class="number">After</th>
              <th class="number">Difference</th>
              <th class="number">95 % interval</th>
              <th>Trained</th>
            </tr>
          </thead>
          <tbody>
            {changes.slice(0, shown).map(({ component, before, after, difference }) => (
              <tr
                key={component}
                class={uncertain(difference) ? 'uncertain' : ''}
                aria-current={sameComponent(parseComponent(component), selected) ? 'true' : undefined}
              >
                <td>
                  <ComponentButton name={component} onSelect={select} />
                </td>
                <td class="number">{effect(before?.mean ?? null, 'logit_difference')}</td>
                <td class="number">{effect(after?.mean ?? null, 'logit_difference')}</td>
                <td class="number" title={signMeaning(difference.mean ?? 0, 'difference')}>
                  <span class={`sign ${(difference.mean ?? 0) < 0 ? 'hurts' : 'helps'}`} aria-hidden="true">
                    {glyph(difference.mean ?? 0)}
                  </span>{' '}
                  {effect(difference.mean, 'logit_difference')}
                </td>
                <td class="number">{interval(difference.low, difference.high, 'logit_difference')}</td>
                <td>{trained.has(component) ? 'yes' : touched.has(component) ? 'shares trained weights' : ''}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="faint">
        <ShowMore shown={shown} all={changes.length} more={() => setShown(shown + 5 * STEP)} /> Effects on the logit
        difference, in logits, wrongly answered pairs included. Below 0 the component supports the answer; a difference
        below 0 means that it supports it more than before. Greyed: the interval covers 0.{' '}
        <a href={fileAddress(result.experiment_id, 'repatched.csv')} download>
          Download all as CSV
        </a>
      </p>
    </section>
  );
}

/** The component in the address; null if the model does not have it. */
function selectedIn(search: string, table: EffectTable): Component | null {
  const component = parseComponent(new URLSearchParams(search).get('sel') ?? '');
  return component && cellOf(table, component) ? component : null;
}

function numbers(cell: Cell | null, table: EffectTable): string {
  if (!cell || cell.mean === null) return 'n/a';
  return `${effect(cell.mean, table.metric)} (${interval(cell.low, cell.high, table.metric)})`;
}
