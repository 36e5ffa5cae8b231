// The map's numbers as a table: rank, component, mean, interval, n.
import { useMemo, useState } from 'preact/hooks';
import { sameComponent, componentName, type Component } from '../../model/component';
import { sorted, uncertain, type EffectTable, type SortKey } from '../../model/effects';
import { effect, glyph, interval, signMeaning } from '../../text/numbers';

const STEP = 100;
const COLUMNS: readonly (readonly [SortKey, string])[] = [
  ['rank', 'Rank'],
  ['component', 'Component'],
  ['mean', 'Effect'],
  ['width', '95 % interval'],
];

export function Ranking({
  table,
  selected,
  onSelect,
}: {
  table: EffectTable;
  selected: Component | null;
  onSelect: (component: Component) => void;
}) {
  const [key, setKey] = useState<SortKey>('rank');
  const [descending, setDescending] = useState(table.direction === 'denoising');
  const [shown, setShown] = useState(STEP);
  const rows = useMemo(() => sorted(table, key, descending), [table, key, descending]);
  const without = table.cells.length - table.ranking.length;
  return (
    <div class="ranking">
      <div class="scroll">
        <table aria-label="Ranking of components">
          <thead>
            <tr>
              {COLUMNS.map(([name, label]) => (
                <th key={name} aria-sort={key === name ? (descending ? 'descending' : 'ascending') : 'none'}>
                  <button
                    type="button"
                    class="sort"
                    onClick={() => {
                      setDescending(key === name && !descending);
                      setKey(name);
                    }}
                  >
                    {label}
                    <span aria-hidden="true">{key === name ? (descending ? ' ↓' : ' ↑') : ''}</span>
                  </button>
                </th>
              ))}
              <th>n</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, shown).map((cell) => (
              <tr
                key={componentName(cell)}
                aria-current={sameComponent(cell, selected) ? 'true' : undefined}
                class={uncertain(cell) ? 'uncertain' : ''}
              >
                <td class="number">{cell.rank}</td>
                <td>
                  <button type="button" class="pick" onClick={() => onSelect(cell)}>
                    {componentName(cell)}
                  </button>
                </td>
                <td class="number" title={signMeaning(cell.mean ?? 0, table.direction)}>
                  <span class={`sign ${(cell.mean ?? 0) < 0 ? 'hurts' : 'helps'}`} aria-hidden="true">
                    {glyph(cell.mean ?? 0)}
                  </span>{' '}
                  {effect(cell.mean, table.metric)}
                </td>
                <td class="number">{cell.low === null ? '–' : interval(cell.low, cell.high, table.metric)}</td>
                <td class="number">{table.nPairs}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="faint">
        {Math.min(shown, rows.length)} of {rows.length} components.
        {without > 0 && ` ${without} without a value.`} Ranks start at the most negative effect, as in the CSV. Greyed:
        the interval covers 0.{' '}
        {shown < rows.length && (
          <button type="button" class="quiet" onClick={() => setShown(shown + STEP)}>
            Show {Math.min(STEP, rows.length - shown)} more
          </button>
        )}
      </p>
    </div>
  );
}
