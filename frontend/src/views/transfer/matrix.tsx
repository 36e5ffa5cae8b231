// A matrix as a table of coloured cells, with details in the cells on demand and as text below.
import { useRef, useState } from 'preact/hooks';
import type { Grid } from '../../api/wire';
import { colourAt, attentionScale, css, DIVERGING, inkOn, stops, type Rgb, type Theme } from '../../charts/colours';
import { scaleEnd, neighbour, type CellPosition, type Scale } from '../../model/transferMatrix';
import { digits } from '../../text/numbers';
import { useTheme } from '../../ui/theme';

interface MatrixProps {
  title: string;
  rows: readonly string[];
  columns: readonly string[];
  /** Number of pairs per column. */
  pairs: readonly number[];
  values: Grid;
  /** Additional lines of a cell, shown on demand. */
  more?: (row: number, column: number) => readonly string[];
  /** A row above the others. */
  above?: { name: string; values: readonly (number | null)[] };
  scale: Scale;
  describe?: (row: number, column: number) => string;
}

function colourOf(value: number, end: number, scale: Scale, theme: Theme): Rgb {
  return scale === 'share'
    ? colourAt(attentionScale(theme), value)
    : colourAt(stops(DIVERGING[theme]), (Math.max(-1, Math.min(1, value / end)) + 1) / 2);
}

const placeOf = (target: EventTarget | null): CellPosition | null => {
  const name = (target as Element | null)?.closest('[data-cell]')?.getAttribute('data-cell');
  const [row = NaN, column = NaN] = (name ?? '').split(' ').map(Number);
  return name ? { row, column } : null;
};

export function Matrix({ title, rows, columns, pairs, values, more, above, scale, describe }: MatrixProps) {
  const theme = useTheme();
  const [details, setDetails] = useState('');
  const [full, setFull] = useState(false);
  const [active, setActive] = useState<CellPosition>({ row: 0, column: 0 });
  const table = useRef<HTMLTableElement>(null);
  const end = scaleEnd(values, scale);
  const showDetails = (place: CellPosition | null) => {
    if (place && describe) setDetails(describe(place.row, place.column));
  };
  const cell = (value: number | null, column: number, row: number | null) => {
    const colour = value === null ? null : colourOf(value, end, scale, theme);
    // One cell is in the tab order; arrow keys reach the others.
    const focused = row === active.row && column === active.column;
    return (
      <td
        key={column}
        class={colour ? 'number' : 'number none'}
        {...(colour ? { style: { background: css(colour), color: inkOn(colour) } } : {})}
        {...(row !== null && describe ? { 'data-cell': `${row} ${column}`, tabIndex: focused ? 0 : -1 } : {})}
      >
        {colour ? digits(value) : 'n/a'}
        {full && row !== null && more?.(row, column).map((line, i) => <small key={i}>{line}</small>)}
      </td>
    );
  };
  return (
    <div class="matrix">
      <h3>{title}</h3>
      <div
        class="scroll"
        tabIndex={describe ? -1 : 0}
        role="group"
        aria-label={title}
        onPointerOver={(event) => showDetails(placeOf(event.target))}
        onFocusIn={(event) => {
          const place = placeOf(event.target);
          if (place) setActive(place);
          showDetails(place);
        }}
        onKeyDown={(event) => {
          const next =
            describe &&
            !event.altKey &&
            !event.metaKey &&
            placeOf(event.target) &&
            neighbour(active, event.key, values);
          if (!next) return;
          event.preventDefault();
          table.current?.querySelector<HTMLElement>(`[data-cell="${next.row} ${next.column}"]`)?.focus();
        }}
      >
        <table aria-label={title} ref={table}>
          <thead>
            <tr>
              <td />
              {columns.map((name, j) => (
                <th key={name} scope="col">
                  <span>
                    <bdi>{name}</bdi>
                  </span>
                  <small>n = {pairs[j]}</small>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {above && (
              <tr class="above">
                <th scope="row">{above.name}</th>
                {above.values.map((value, j) => cell(value, j, null))}
              </tr>
            )}
            {values.map((row, i) => (
              <tr key={i}>
                <th scope="row">
                  <bdi>{rows[i]}</bdi>
                </th>
                {row.map((value, j) => cell(value, j, i))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {more && (
        <label class="check">
          <input type="checkbox" checked={full} onChange={(event) => setFull(event.currentTarget.checked)} />
          Intervals and random heads in the cells
        </label>
      )}
      {describe && (
        <p class="faint details-line" aria-live="polite">
          {details || 'Point at a cell, or move to it with Tab and the arrow keys, to see its details.'}
        </p>
      )}
    </div>
  );
}
