// A head's attention in one prompt: the map, the END row by role, and thumbnails of all heads of the layer.
import { useMemo } from 'preact/hooks';
import { getView } from '../../api/client';
import type { AttentionPattern, Result } from '../../api/wire';
import { attentionMap, endByRole, firstTokenMass, range } from '../../charts/attentionMap';
import { attentionScale, gradient } from '../../charts/colours';
import { shownPair, stored } from '../../model/pairs';
import { percent } from '../../text/numbers';
import { ROLE_NAMES, visible } from '../../text/tokens';
import { useLoad, useWidth } from '../../ui/hooks';
import { ErrorMessage } from '../../ui/parts';
import { Plot } from '../../ui/plot';
import { useTheme } from '../../ui/theme';
import { Waiting } from '../../ui/computed';
import { AttentionTip } from './attentionTip';
import { PromptChoice } from './promptChoice';
import { Thumbnails } from './thumbnails';

export interface AttentionProps {
  id: string;
  result: Result;
  layer: number;
  head: number;
  prompt: number | null;
  onHead: (head: number) => void;
  onPrompt: (prompt: number) => void;
}

export function AttentionPanel({ id, result, layer, head, prompt, onHead, onPrompt }: AttentionProps) {
  const pair = shownPair(result, prompt);
  if (!pair) return <p class="faint">No prompt was kept.</p>;
  return (
    <div class="attention">
      <PromptChoice result={result} pair={pair} onPrompt={onPrompt} />
      <LoadedAttention
        id={id}
        layer={layer}
        head={head}
        index={pair.index}
        waiting={
          stored(result, pair)
            ? `Loading the attention of layer ${layer}…`
            : 'This prompt’s attention was not stored with the result. A worker is computing it…'
        }
        onHead={onHead}
      />
    </div>
  );
}

interface LoadedAttentionProps {
  id: string;
  layer: number;
  head: number;
  index: number;
  waiting: string;
  onHead: (head: number) => void;
}

function LoadedAttention({ id, layer, head, index, waiting, onHead }: LoadedAttentionProps) {
  const { data, error, busy, reload } = useLoad(`${id} ${layer} ${index}`, (signal) =>
    getView<AttentionPattern>(id, 'attention', signal, { layer, prompt: index }),
  );
  return (
    <>
      {error && (
        <ErrorMessage problem={error}>
          <button type="button" onClick={reload}>
            Try again
          </button>
        </ErrorMessage>
      )}
      {busy && <Waiting text={waiting} />}
      {data && <Pattern data={data} head={head} onHead={onHead} />}
    </>
  );
}

const NO_WEIGHTS: readonly (readonly number[])[] = [];

function Pattern({ data, head, onHead }: { data: AttentionPattern; head: number; onHead: (head: number) => void }) {
  const theme = useTheme();
  const [place, width] = useWidth<HTMLDivElement>();
  const weights = data.weights[head] ?? NO_WEIGHTS;
  const figure = useMemo(
    () => (width > 0 ? attentionMap(weights, data.tokens, theme, Math.min(width, 620)) : null),
    [weights, data.tokens, theme, width],
  );
  const mass = firstTokenMass(weights);
  const shown = range(data.tokens.length);
  const first = visible(data.tokens[0]?.text ?? '');
  return (
    <>
      <h3>Attention</h3>
      <div ref={place} class="attention-place">
        {figure && (
          <div class="attention-map" style={{ width: `${figure.width}px`, height: `${figure.height}px` }}>
            <Plot figure={figure} />
            <AttentionTip figure={figure} weights={weights} tokens={data.tokens} start={shown.start} />
          </div>
        )}
      </div>
      <div class="unit-scale">
        <span>0</span>
        <span class="bar" style={{ background: gradient(attentionScale(theme)) }} />
        <span>1</span>
        <span class="faint">share of the “from” token’s attention</span>
      </div>
      <p class="faint">
        {data.tokens.length > 1 && (
          <>
            First token <bdi class="mono">{first}</bdi> hidden: it receives {percent(mass.end)} of the attention of END,{' '}
            {percent(mass.mean)} of a row’s on average.
          </>
        )}
        {shown.hiddenBefore > 1 && ` The last ${shown.count} of ${data.tokens.length} tokens are shown.`}
      </p>
      <EndRow weights={weights} tokens={data.tokens} />
      <Thumbnails weights={data.weights} layer={data.layer} head={head} onHead={onHead} />
    </>
  );
}

function EndRow({ weights, tokens }: { weights: readonly (readonly number[])[]; tokens: AttentionPattern['tokens'] }) {
  const rows = endByRole(weights, tokens).filter((row) => row.tokens > 0);
  const end = visible(tokens.at(-1)?.text ?? '');
  return (
    <table class="bars">
      <caption>
        What END (<bdi class="mono">{end}</bdi>) attends to
      </caption>
      <thead class="unseen">
        <tr>
          <th>Role</th>
          <th>Tokens</th>
          <th>Share of attention</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ role, weight, tokens: count }) => (
          <tr key={role} class={`role-${role}`}>
            <th scope="row">{ROLE_NAMES[role]}</th>
            <td class="number faint">{count === 1 ? '1 token' : `${count} tokens`}</td>
            <td class="share">
              <div>
                <span class="track" aria-hidden="true">
                  <span class="fill" style={{ width: `${Math.min(100, 100 * weight)}%` }} />
                </span>
                <span class="number">{percent(weight)}</span>
              </div>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
