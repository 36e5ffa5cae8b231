// The map of effects: Plotly paints the cells; a grid of elements over them serves pointer, keyboard and screen
// readers.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { effectMap, MARGIN, places } from '../../charts/effectMap';
import { sameComponent, spokenName, componentName, type Component } from '../../model/component';
import { cellOf, uncertain, type Cell, type EffectTable } from '../../model/effects';
import { componentAt } from '../../model/gridNavigation';
import { effect, glyph, interval, signMeaning, speakEffect } from '../../text/numbers';
import { useWidth } from '../../ui/hooks';
import { Plot } from '../../ui/plot';
import { useTheme } from '../../ui/theme';
import { EffectGrid, type EffectsProps } from './effectGrid';
import { EffectLegend } from './legend';

export function spokenCell(cell: Cell, table: EffectTable): string {
  const rank = cell.rank === null ? '' : `, rank ${cell.rank}`;
  return `${spokenName(cell)}, effect ${speakEffect(cell.mean, table.metric)}${rank}`;
}

export function EffectsMap({ table, selected, onSelect, label }: EffectsProps) {
  const theme = useTheme();
  const [place, width] = useWidth<HTMLDivElement>();
  const [hovered, setHovered] = useState<Component | null>(null);
  const [announcement, setAnnouncement] = useState('');
  const figure = useMemo(() => (width > 0 ? effectMap(table, { theme, width }) : null), [table, theme, width]);
  // The hover ends with the old table.
  useEffect(() => setHovered(null), [table.layers, table.heads]);

  const { gap, total } = places(table.heads);
  const box = figure && {
    left: MARGIN.l,
    top: MARGIN.t,
    width: (figure.width ?? 0) - MARGIN.l - MARGIN.r,
    height: figure.height - MARGIN.t - MARGIN.b,
  };
  const cell = hovered && cellOf(table, hovered);

  return (
    <div class="effects-map" ref={place}>
      <div class="map-scroll">
        {figure && box && (
          <div class="map" style={{ width: `${figure.width}px`, height: `${figure.height}px` }}>
            <Plot figure={figure} class="map-plot" />
            <div
              class="map-cells"
              style={{ left: `${box.left}px`, top: `${box.top}px`, width: `${box.width}px`, height: `${box.height}px` }}
              onPointerMove={(event) => {
                const area = event.currentTarget.getBoundingClientRect();
                const next = componentAt(
                  (event.clientX - area.left) / area.width,
                  (event.clientY - area.top) / area.height,
                  table,
                  { gap, total },
                );
                setHovered((old) => (sameComponent(old, next) ? old : next));
              }}
              onPointerLeave={() => setHovered(null)}
            >
              <EffectGrid
                table={table}
                selected={selected}
                onSelect={onSelect}
                {...(label ? { label } : {})}
                onMove={(component) => {
                  const reached = cellOf(table, component);
                  if (reached) setAnnouncement(spokenCell(reached, table));
                }}
              />
              {cell && <Tip cell={cell} table={table} />}
            </div>
          </div>
        )}
      </div>
      <EffectLegend table={table} />
      <p class="unseen" aria-live="polite" data-testid="map-live">
        {announcement}
      </p>
    </div>
  );
}

function Tip({ cell, table }: { cell: Cell; table: EffectTable }) {
  const { total, gap, mlpWidth } = places(table.heads);
  const x = cell.head === null ? table.heads + gap + mlpWidth / 2 : cell.head + 0.5;
  const left = x / total;
  const low = cell.layer / table.layers > 0.75;
  const side = left > 0.5 ? { right: `${100 * (1 - left) + 2}%` } : { left: `${100 * left + 2}%` };
  const end = low
    ? { bottom: `${100 * (1 - cell.layer / table.layers)}%` }
    : { top: `${(100 * (cell.layer + 1)) / table.layers}%` };
  return (
    <div class="tip" style={{ ...side, ...end }} aria-hidden="true">
      <strong>{componentName(cell)}</strong>{' '}
      {cell.mean === null ? (
        table.finished ? (
          'n/a'
        ) : (
          'not computed yet'
        )
      ) : (
        <>
          {glyph(cell.mean)} {effect(cell.mean, table.metric)}
          <br />
          {uncertain(cell) ? 'interval covers 0' : signMeaning(cell.mean, table.direction)}
          <br />
          <span class="faint">
            {cell.low !== null && `${interval(cell.low, cell.high, table.metric)}, `}rank {cell.rank} of{' '}
            {table.ranking.length}
          </span>
        </>
      )}
    </div>
  );
}
