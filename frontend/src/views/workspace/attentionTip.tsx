// The weight under the pointer, as text. Text nodes only: tokens never become markup.
import { useState } from 'preact/hooks';
import type { Token } from '../../api/wire';
import type { Figure } from '../../charts/figure';
import { percent } from '../../text/numbers';
import { clip, visible } from '../../text/tokens';

export function AttentionTip({
  figure,
  weights,
  tokens,
  start,
}: {
  figure: Figure;
  weights: readonly (readonly number[])[];
  tokens: readonly Token[];
  start: number;
}) {
  const [at, setAt] = useState<{ query: number; key: number } | null>(null);
  const count = tokens.length - start;
  const { margin } = figure;
  const width = (figure.width ?? 0) - margin.l - margin.r;
  const height = figure.height - margin.t - margin.b;
  const weight = at ? weights[at.query]?.[at.key] : undefined;
  const name = (index: number) => clip(visible(tokens[index]?.text ?? ''), 16);
  const left = at ? (at.key - start + 1) / count : 0;
  return (
    <div
      class="attention-cells"
      aria-hidden="true"
      style={{ left: `${margin.l}px`, top: `${margin.t}px`, width: `${width}px`, height: `${height}px` }}
      onPointerMove={(event) => {
        const area = event.currentTarget.getBoundingClientRect();
        const place = (share: number) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
        const query = start + place((event.clientY - area.top) / area.height);
        const key = start + place((event.clientX - area.left) / area.width);
        setAt((old) => {
          if (key > query) return null;
          return old?.query === query && old.key === key ? old : { query, key };
        });
      }}
      onPointerLeave={() => setAt(null)}
    >
      {at && weight !== undefined && (
        <div
          class="tip"
          style={{
            top: `${(100 * (at.query - start)) / count}%`,
            ...(left > 0.5 ? { right: `${100 * (1 - left + 1 / count)}%` } : { left: `${100 * left}%` }),
          }}
        >
          from <bdi class="mono">{name(at.query)}</bdi> to <bdi class="mono">{name(at.key)}</bdi>
          <br />
          <strong>{percent(weight)}</strong>
        </div>
      )}
    </div>
  );
}
