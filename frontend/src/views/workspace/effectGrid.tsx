// The grid of effects as elements: one tab stop, arrows to move, Enter to select. Transparent over the painted map.
import { memo } from 'preact/compat';
import { useEffect, useRef, useState } from 'preact/hooks';
import { places } from '../../charts/effectMap';
import { parseComponent, sameComponent, componentName, type Component } from '../../model/component';
import type { Cell, EffectTable } from '../../model/effects';
import { moveInGrid } from '../../model/gridNavigation';
import { effect } from '../../text/numbers';

/** Props of the map and of the grid over it. */
export interface EffectsProps {
  table: EffectTable;
  selected: Component | null;
  /** null clears the selection. */
  onSelect: (component: Component | null) => void;
  /** The name of this map, on a page with several. */
  label?: string;
}

interface GridProps extends EffectsProps {
  onMove: (component: Component) => void;
}

const named = (target: EventTarget | null): Component | null => {
  const name = target instanceof Element ? target.closest('[data-component]')?.getAttribute('data-component') : null;
  return name ? parseComponent(name) : null;
};

export function EffectGrid({ table, selected, onSelect, onMove, label = 'Effect of every component' }: GridProps) {
  const start = selected ?? table.ranking[0] ?? { layer: 0, head: 0 };
  const [active, setActive] = useState<Component>(start);
  const place = useRef<HTMLDivElement>(null);
  const selectedName = selected ? componentName(selected) : null;
  useEffect(() => {
    if (selectedName !== null) setActive(parseComponent(selectedName) ?? { layer: 0, head: 0 });
  }, [selectedName]);
  const inside = active.layer < table.layers && (active.head ?? 0) < table.heads ? active : { layer: 0, head: 0 };

  const go = (component: Component) => {
    setActive(component);
    place.current?.querySelector<HTMLElement>(`[data-component="${componentName(component)}"]`)?.focus();
    onMove(component);
  };
  return (
    <div
      ref={place}
      class="grid"
      role="grid"
      aria-label={label}
      aria-rowcount={table.layers}
      aria-colcount={table.heads + 1}
      onKeyDown={(event) => {
        if (event.altKey || event.metaKey) return;
        if (event.key === 'Enter' || event.key === ' ') onSelect(inside);
        else if (event.key === 'Escape') onSelect(null);
        else {
          const next = moveInGrid(inside, event.key, table, event.ctrlKey);
          if (!next) return;
          go(next);
        }
        event.preventDefault();
      }}
      onClick={(event) => {
        const component = named(event.target);
        if (!component) return;
        setActive(component);
        onSelect(component);
      }}
    >
      {Array.from({ length: table.layers }, (_, layer) => (
        <GridRow
          key={layer}
          table={table}
          layer={layer}
          active={inside.layer === layer ? inside : null}
          selected={selected?.layer === layer ? selected : null}
        />
      ))}
    </div>
  );
}

interface RowProps {
  table: EffectTable;
  layer: number;
  active: Component | null;
  selected: Component | null;
}

// Only rows that a move or a selection touches are rendered again: a large model has thousands of cells.
const GridRow = memo(
  function GridRow({ table, layer, active, selected }: RowProps) {
    const first = layer * (table.heads + 1);
    const { gap, mlpWidth } = places(table.heads);
    const item = (cell: Cell) => (
      <div
        key={cell.head ?? 'mlp'}
        role="gridcell"
        class="cell"
        data-component={componentName(cell)}
        aria-label={`${componentName(cell)}, ${cell.mean === null ? 'not computed' : effect(cell.mean, table.metric)}`}
        aria-selected={sameComponent(selected, cell)}
        tabIndex={sameComponent(active, cell) ? 0 : -1}
        style={
          cell.head === null
            ? { flexGrow: mlpWidth, marginLeft: `${(100 * gap) / places(table.heads).total}%` }
            : undefined
        }
      />
    );
    return (
      <div role="row" aria-rowindex={layer + 1} class="grid-row">
        {table.cells.slice(first, first + table.heads + 1).map(item)}
      </div>
    );
  },
  (a, b) =>
    a.table === b.table &&
    a.layer === b.layer &&
    sameComponent(a.active, b.active) &&
    sameComponent(a.selected, b.selected),
);
