// A figure of curves, with the names of its lines in words: the table beside it carries the numbers.
import { useMemo } from 'preact/hooks';
import { lines, type Curve, type LinesOptions } from '../../charts/lines';
import type { Theme } from '../../charts/colours';
import { useWidth } from '../../ui/hooks';
import { Plot } from '../../ui/plot';
import { useTheme } from '../../ui/theme';

interface CurvesProps {
  title: string;
  make: (theme: Theme) => readonly Curve[];
  options: Omit<LinesOptions, 'theme' | 'width'>;
  /** What the curves are of: they are drawn again when this is another object. */
  of: object;
}

export function Curves({ title, make, options, of }: CurvesProps) {
  const theme = useTheme();
  const [place, width] = useWidth<HTMLElement>();
  const curves = useMemo(() => make(theme), [of, theme]);
  const figure = useMemo(
    () => (width > 0 ? lines(curves, { ...options, theme, width: Math.min(width, 640) }) : null),
    [curves, theme, width],
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
