// A line chart with a text legend. The numbers themselves are in the table next to it.
import { useMemo } from 'preact/hooks';
import { lines, type Curve, type LinesOptions } from '../charts/lines';
import type { Theme } from '../charts/colours';
import { useWidth } from './hooks';
import { Plot } from './plot';
import { useTheme } from './theme';

export interface Chart {
  curves: readonly Curve[];
  options: Omit<LinesOptions, 'theme' | 'width'>;
}

interface CurvesProps<T> {
  title: string;
  data: T;
  /** Makes the chart from the data. The figure is drawn again when this is another function, so it must be stable. */
  draw: (data: T, theme: Theme) => Chart;
}

export function Curves<T>({ title, data, draw }: CurvesProps<T>) {
  const theme = useTheme();
  const [place, width] = useWidth<HTMLElement>();
  const { curves, options } = useMemo(() => draw(data, theme), [draw, data, theme]);
  const figure = useMemo(
    () => (width > 0 ? lines(curves, { ...options, theme, width: Math.min(width, 640) }) : null),
    [curves, options, theme, width],
  );
  return (
    <figure class="curves" ref={place}>
      <figcaption>
        <strong>{title}</strong>
        <ul class="line-names">
          {curves.map((curve) => (
            <li key={curve.name}>
              <span
                class="line-key"
                aria-hidden="true"
                style={{
                  borderTopColor: curve.colour,
                  borderTopStyle: ({ solid: 'solid', dash: 'dashed', dot: 'dotted' } as const)[curve.dash ?? 'solid'],
                  ...(curve.low ? { background: `color-mix(in srgb, ${curve.colour} 20%, transparent)` } : {}),
                }}
              />
              {curve.name}
            </li>
          ))}
        </ul>
      </figcaption>
      {figure && <Plot figure={figure} />}
    </figure>
  );
}
