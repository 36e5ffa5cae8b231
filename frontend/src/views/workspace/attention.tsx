// What a head attends to in one prompt: the map, the END row by role, and all heads of the layer as small pictures.
import { useMemo } from 'preact/hooks';
import { attention } from '../../api/client';
import type { AttentionPattern, PairResult, Result } from '../../api/wire';
import { attentionMap, endByRole, firstTokenMass, range } from '../../charts/attentionMap';
import { attentionScale, gradient } from '../../charts/colours';
import { digits, percent } from '../../text/numbers';
import { clip, lastLine, rolesIn, ROLE_WORDS, textOf, visible } from '../../text/tokens';
import { Chip, RoleLegend } from '../../ui/chips';
import { useLoad, useWidth } from '../../ui/hooks';
import { Field, TroubleBlock } from '../../ui/parts';
import { Plot } from '../../ui/plot';
import { useTheme } from '../../ui/theme';
import { AttentionTip } from './attentionTip';
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
  const pair = result.pairs.find(({ index }) => index === prompt) ?? result.pairs[0];
  const index = pair?.index ?? 0;
  const { data, trouble, busy, again } = useLoad(`${id} ${layer} ${index}`, (signal) =>
    attention(id, layer, index, signal),
  );
  if (!pair) return <p class="faint">No prompt was kept.</p>;
  return (
    <div class="attention">
      <PromptChoice pairs={result.pairs} pair={pair} onPrompt={onPrompt} />
      {trouble && (
        <TroubleBlock problem={trouble}>
          <button type="button" onClick={again}>
            Try again
          </button>
        </TroubleBlock>
      )}
      {busy && <p class="faint">Fetching the attention of layer {layer}…</p>}
      {data && <Pattern data={data} head={head} onHead={onHead} />}
    </div>
  );
}

const LISTED = 200;

function PromptChoice({
  pairs,
  pair,
  onPrompt,
}: {
  pairs: readonly PairResult[];
  pair: PairResult;
  onPrompt: (prompt: number) => void;
}) {
  const name = (one: PairResult) => clip(visible(lastLine(textOf(one.reference))), 40);
  return (
    <div class="prompt-choice">
      {pairs.length > 1 && (
        <Field label="Prompt">
          {(id) =>
            pairs.length <= LISTED ? (
              <select
                id={id}
                value={String(pair.index)}
                onChange={(event) => onPrompt(Number(event.currentTarget.value))}
              >
                {pairs.map((one) => (
                  <option key={one.index} value={String(one.index)}>
                    {one.index}: {name(one)} {one.correct ? '' : '(wrong)'}
                  </option>
                ))}
              </select>
            ) : (
              <input
                id={id}
                type="number"
                min={0}
                value={pair.index}
                onChange={(event) => {
                  const wanted = Number(event.currentTarget.value);
                  const found = pairs.find(({ index }) => index >= wanted) ?? pairs.at(-1);
                  if (found) onPrompt(found.index);
                }}
              />
            )
          }
        </Field>
      )}
      <div class="tokens" role="group" aria-label="Tokens of the prompt" tabIndex={0}>
        {pair.reference.map((token, i) => (
          <Chip key={i} token={token} />
        ))}
      </div>
      <p class="faint">
        answer <bdi class="mono">{visible(pair.answer)}</bdi>, the model says{' '}
        <bdi class="mono">{visible(pair.top)}</bdi> ({pair.correct ? 'right' : 'wrong'}), logit{' '}
        {digits(pair.reference_logit)}, without the calculation {digits(pair.counterfactual_logit)}
      </p>
      <RoleLegend roles={rolesIn(pair.reference)} />
    </div>
  );
}

function Pattern({ data, head, onHead }: { data: AttentionPattern; head: number; onHead: (head: number) => void }) {
  const theme = useTheme();
  const [place, width] = useWidth<HTMLDivElement>();
  const weights = data.weights[head] ?? [];
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
        <span class="faint">share of a token’s attention</span>
      </div>
      <p class="faint">
        {data.tokens.length > 1 && (
          <>
            First token <bdi class="mono">{first}</bdi> hidden: it takes {percent(mass.end)} of END,{' '}
            {percent(mass.mean)} of a row on average.
          </>
        )}
        {shown.hiddenBefore > 1 && ` The last ${shown.count} of ${data.tokens.length} tokens are drawn.`}
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
            <th scope="row">{ROLE_WORDS[role]}</th>
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
