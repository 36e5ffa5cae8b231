// A matrix as a table of coloured cells: the number in each, the interval on demand, all of a cell in words below.
import { useState } from 'preact/hooks';
import type { Grid } from '../../api/wire';
import { at, attentionScale, css, DIVERGING, inkOn, stops, type Rgb, type Theme } from '../../charts/colours';
import { endOf, type Scale } from '../../model/matrix';
import { digits } from '../../text/numbers';
import { useTheme } from '../../ui/theme';

interface MatrixProps {
  title: string;
  rows: readonly string[];
  columns: readonly string[];
  values: Grid;
  intervals?: (row: number, column: number) => readonly [number | null, number | null];
  /** A row that stands above the others. */
  above?: { name: string; values: readonly (number | null)[] };
  scale: Scale;
  words?: (row: number, column: number) => string;
}

function colourOf(value: number, end: number, scale: Scale, theme: Theme): Rgb {
  return scale === 'share'
    ? at(attentionScale(theme), value)
    : at(stops(DIVERGING[theme]), (Math.max(-1, Math.min(1, value / end)) + 1) / 2);
}

export function Matrix({ title, rows, columns, values, intervals, above, scale, words }: MatrixProps) {
  const theme = useTheme();
  const [told, setTold] = useState('');
  const [full, setFull] = useState(false);
  const end = endOf(values, scale);
  const cell = (value: number | null, key: number, more?: { row: number }) => {
    if (value === null) {
      return (
        <td key={key} class="number none">
          n/a
        </td>
      );
    }
    const colour = colourOf(value, end, scale, theme);
    const [low, high] = more && intervals ? intervals(more.row, key) : [null, null];
    return (
      <td
        key={key}
        class="number"
        style={{ background: css(colour), color: inkOn(colour) }}
        {...(more && words ? { 'data-cell': `${more.row} ${key}` } : {})}
      >
        {digits(value)}
        {full && low !== null && high !== null && (
          <small>
            {digits(low)} to {digits(high)}
          </small>
        )}
      </td>
    );
  };
  return (
    <div class="matrix">
      <h3>{title}</h3>
      <div
        class="scroll"
        tabIndex={0}
        role="group"
        aria-label={title}
        onPointerOver={(event) => {
          const place = (event.target as Element).closest('[data-cell]')?.getAttribute('data-cell');
          const [i = NaN, j = NaN] = (place ?? '').split(' ').map(Number);
          if (place && words) setTold(words(i, j));
        }}
      >
        <table aria-label={title}>
          <thead>
            <tr>
              <td />
              {columns.map((name) => (
                <th key={name} scope="col">
                  <span>
                    <bdi>{name}</bdi>
                  </span>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {above && (
              <tr class="above">
                <th scope="row">{above.name}</th>
                {above.values.map((value, j) => cell(value, j))}
              </tr>
            )}
            {values.map((row, i) => (
              <tr key={i}>
                <th scope="row">
                  <bdi>{rows[i]}</bdi>
                </th>
                {row.map((value, j) => cell(value, j, { row: i }))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {intervals && (
        <label class="check">
          <input type="checkbox" checked={full} onChange={(event) => setFull(event.currentTarget.checked)} />
          Intervals in the cells
        </label>
      )}
      {words && <p class="faint told">{told || 'Point at a cell to read all of it.'}</p>}
    </div>
  );
}
