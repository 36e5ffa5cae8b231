// The selected component: its effect, its interval, and what it attends to.
import type { Result } from '../../api/wire';
import { sameComponent, componentName, type Component } from '../../model/component';
import { cellOf, uncertain, type Cell, type EffectTable } from '../../model/effects';
import { effect, glyph, interval, signMeaning } from '../../text/numbers';
import { useShortcut } from '../../ui/hooks';
import type { ComponentChildren } from 'preact';
import { AttentionPanel } from './attention';

export interface ComponentProps {
  id: string;
  table: EffectTable;
  result: Result | null;
  selected: Component;
  prompt: number | null;
  onSelect: (component: Component, step?: boolean) => void;
  onPrompt: (prompt: number) => void;
  pinned: boolean;
  onPin: () => void;
  /** Panels of the component. */
  children: ComponentChildren;
}

export function ComponentPanel(props: ComponentProps) {
  const { id, table, result, selected, prompt, onSelect, onPrompt, pinned, onPin, children } = props;
  const cell = cellOf(table, selected);
  const rank = cell?.rank ?? null;
  const place = table.ranking.findIndex((each) => sameComponent(each, selected));
  const step = (by: -1 | 1) => {
    const next = rank === null ? table.ranking[0] : table.ranking[place + by];
    if (next) onSelect(next, true);
  };
  useShortcut(['[', ']'], (key) => step(key === '[' ? -1 : 1));
  useShortcut(['p'], onPin);
  return (
    <section class="panel component" aria-labelledby="component-name" data-testid="component">
      <header class="component-head">
        <h2 id="component-name">{componentName(selected)}</h2>
        <p class="kind">
          {selected.head === null
            ? `MLP of layer ${selected.layer}`
            : `head ${selected.head} of layer ${selected.layer}`}
        </p>
        <div class="stepper" role="group" aria-label="Rank">
          <button
            type="button"
            onClick={() => step(-1)}
            disabled={place === 0}
            aria-label="Previous in the ranking"
            title="Previous in the ranking ([)"
          >
            ‹
          </button>
          <span>{rank === null ? 'no rank' : `rank ${rank}/${table.ranking.length}`}</span>
          <button
            type="button"
            onClick={() => step(1)}
            disabled={place === table.ranking.length - 1 && rank !== null}
            aria-label="Next in the ranking"
            title="Next in the ranking (])"
          >
            ›
          </button>
        </div>
        <button
          type="button"
          class="quiet"
          aria-pressed={pinned}
          onClick={onPin}
          title="Keep it in the list of pins (p)"
        >
          {pinned ? 'Pinned' : 'Pin'}
        </button>
      </header>
      {cell && <EffectLine cell={cell} table={table} />}
      {selected.head === null ? (
        <MlpNotes table={table} layer={selected.layer} onSelect={onSelect} />
      ) : result ? (
        <AttentionPanel
          id={id}
          result={result}
          layer={selected.layer}
          head={selected.head}
          prompt={prompt}
          onHead={(head) => onSelect({ layer: selected.layer, head })}
          onPrompt={onPrompt}
        />
      ) : (
        <p class="faint">Attention is available when the analysis is done.</p>
      )}
      {children}
    </section>
  );
}

function EffectLine({ cell, table }: { cell: Cell; table: EffectTable }) {
  const { mean, low, high } = cell;
  if (mean === null) {
    return (
      <p class="effect-line faint">
        {table.finished ? 'n/a: no pair has a number for this metric.' : 'Not computed yet.'}
      </p>
    );
  }
  return (
    <div class="effect-line">
      <p>
        <span class={`sign ${mean < 0 ? 'hurts' : 'helps'}`} aria-hidden="true">
          {glyph(mean)}
        </span>{' '}
        <strong>{effect(mean, table.metric)}</strong>{' '}
        {low !== null && <span class="faint">(95 %: {interval(low, high, table.metric)})</span>}{' '}
        <span class="faint">n = {table.nPairs}</span>
      </p>
      <p>
        {uncertain(cell) ? 'The interval covers 0: no clear effect.' : signMeaning(mean, table.direction)}
        {low === null && table.finished && <span class="faint"> One question: no interval.</span>}
      </p>
    </div>
  );
}

const AROUND = 2;

function MlpNotes({
  table,
  layer,
  onSelect,
}: {
  table: EffectTable;
  layer: number;
  onSelect: (component: Component) => void;
}) {
  const layers = Array.from({ length: 2 * AROUND + 1 }, (_, i) => layer - AROUND + i).filter(
    (at) => at >= 0 && at < table.layers,
  );
  const row = (component: Component) => {
    const cell = cellOf(table, component);
    return (
      <tr
        key={componentName(component)}
        aria-current={component.head === null && component.layer === layer ? 'true' : undefined}
      >
        <td>
          <button type="button" class="pick" onClick={() => onSelect(component)}>
            {componentName(component)}
          </button>
        </td>
        <td class="number">{effect(cell?.mean ?? null, table.metric)}</td>
        <td class="number">{cell?.rank ?? '–'}</td>
      </tr>
    );
  };
  const heads = table.ranking.filter((cell) => cell.layer === layer && cell.head !== null).slice(0, 3);
  const caption = (text: string) => <caption>{text}</caption>;
  const head = (
    <thead>
      <tr>
        <th>Component</th>
        <th class="number">Effect</th>
        <th class="number">Rank</th>
      </tr>
    </thead>
  );
  return (
    <>
      <p>An MLP works on one position at a time, so it has no attention: it transforms what heads have moved to END.</p>
      <div class="two">
        <table>
          {caption('Neighbouring MLPs')}
          {head}
          <tbody>{layers.map((at) => row({ layer: at, head: null }))}</tbody>
        </table>
        <table>
          {caption('Strongest heads in this layer')}
          {head}
          <tbody>{heads.map(({ layer: at, head: number }) => row({ layer: at, head: number }))}</tbody>
        </table>
      </div>
    </>
  );
}
