// The choice of a prompt, its tokens, and the model's answer.
import type { PairResult, Result } from '../../api/wire';
import { stored } from '../../model/pairs';
import { digits } from '../../text/numbers';
import { clip, lastLine, rolesIn, textOf, visible } from '../../text/tokens';
import { Chip, RoleLegend } from '../../ui/chips';
import { Field } from '../../ui/parts';

// In a longer list the prompt is chosen by number.
const LISTED = 200;

interface ChoiceProps {
  result: Result;
  pair: PairResult;
  onPrompt: (prompt: number) => void;
}

export function PromptChoice({ result, pair, onPrompt }: ChoiceProps) {
  return (
    <div class="prompt-choice">
      {result.pairs.length > 1 && (
        <Field label="Prompt">
          {(id) =>
            result.pairs.length <= LISTED ? (
              <select
                id={id}
                value={String(pair.index)}
                onChange={(event) => onPrompt(Number(event.currentTarget.value))}
              >
                <Options result={result} />
              </select>
            ) : (
              <input
                id={id}
                type="number"
                min={0}
                value={pair.index}
                onChange={(event) => {
                  const typed = Number(event.currentTarget.value);
                  const next = result.pairs.find(({ index }) => index >= typed) ?? result.pairs.at(-1);
                  if (next) onPrompt(next.index);
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
        answer <bdi class="mono">{visible(pair.answer)}</bdi>; the model says{' '}
        <bdi class="mono">{visible(pair.top)}</bdi> ({pair.correct ? 'correct' : 'wrong'}). Logit of the answer:{' '}
        {digits(pair.reference_logit)}, in the counterfactual run {digits(pair.counterfactual_logit)}
      </p>
      <RoleLegend roles={rolesIn(pair.reference)} />
    </div>
  );
}

function Options({ result }: { result: Result }) {
  const option = (pair: PairResult) => (
    <option key={pair.index} value={String(pair.index)}>
      {pair.index}: {clip(visible(lastLine(textOf(pair.reference))), 40)}
      {pair.correct ? '' : ' (answered wrongly)'}
    </option>
  );
  const without = result.pairs.filter((pair) => !stored(result, pair));
  if (without.length === 0) return <>{result.pairs.map(option)}</>;
  return (
    <>
      {result.pairs.filter((pair) => stored(result, pair)).map(option)}
      <optgroup label="attention computed on demand">{without.map(option)}</optgroup>
    </>
  );
}
