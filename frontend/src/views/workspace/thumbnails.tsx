// All heads of a layer on one canvas, with a button over each.
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { corner, paint, sheet } from '../../charts/thumbnails';
import { useWidth } from '../../ui/hooks';
import { useTheme } from '../../ui/theme';

export function Thumbnails({
  weights,
  layer,
  head,
  onHead,
}: {
  weights: readonly (readonly (readonly number[])[])[];
  layer: number;
  head: number;
  onHead: (head: number) => void;
}) {
  const theme = useTheme();
  const [place, width] = useWidth<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const layout = useMemo(() => (width > 0 ? sheet(weights.length, width) : null), [weights.length, width]);
  useEffect(() => {
    const pen = canvas.current?.getContext('2d');
    if (!pen || !layout) return;
    pen.putImageData(new ImageData(paint(weights, layout, theme), layout.width, layout.height), 0, 0);
  }, [weights, layout, theme]);
  return (
    <div class="thumbnails">
      <h3>All heads of layer {layer}</h3>
      <div ref={place}>
        {layout && (
          <div
            class="sheet"
            role="group"
            aria-label={`Heads of layer ${layer}`}
            style={{ width: `${layout.width}px`, height: `${layout.height}px` }}
          >
            <canvas ref={canvas} width={layout.width} height={layout.height} aria-hidden="true" />
            {weights.map((_, index) => {
              const { x, y } = corner(index, layout);
              return (
                <button
                  key={index}
                  type="button"
                  class="thumb"
                  aria-pressed={index === head}
                  aria-label={`Head ${index}`}
                  title={`Head ${index}`}
                  style={{ left: `${x}px`, top: `${y}px`, width: `${layout.tile}px`, height: `${layout.tile}px` }}
                  onClick={() => onHead(index)}
                />
              );
            })}
          </div>
        )}
      </div>
    </div>
  );
}
