// Form fields for one prompt, the model and the run.
import type { RefObject } from 'preact';
import { useId } from 'preact/hooks';
import type { ModelCard } from '../../api/wire';
import { MAX_SHOTS, shotsOf, type Draft } from '../../model/analysisForm';
import type { SetDraft } from '../../model/promptSet';
import { millions } from '../../text/numbers';
import { Field } from '../../ui/parts';
import { AnswerChoice, CorruptionChoice } from '../prompts/choices';

export interface FormPart {
  draft: Draft;
  change: (part: Partial<Draft>) => void;
}

export function PromptBox({
  draft,
  change,
  box,
  submit,
}: Omit<FormPart, 'draft'> & {
  draft: Draft & Pick<SetDraft, 'answerTokens'>;
  box: RefObject<HTMLTextAreaElement | null>;
  submit: () => void;
}) {
  const lines = Math.min(8, Math.max(1, draft.prompt.split('\n').length));
  return (
    <>
      <Field label="Prompt" class="prompt">
        {(id) => (
          <textarea
            id={id}
            ref={box}
            rows={lines}
            value={draft.prompt}
            spellcheck={false}
            autocomplete="off"
            maxLength={4000}
            aria-describedby="preview"
            onInput={(event) => change({ prompt: event.currentTarget.value })}
            onKeyDown={(event) => {
              if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
              event.preventDefault();
              submit();
            }}
          />
        )}
      </Field>
      <details class="fold">
        <summary>Set the answer and the counterfactual yourself</summary>
        <div class="row">
          <Field label="Answer">
            {(id) => (
              <input
                id={id}
                value={draft.answer}
                placeholder="computed"
                maxLength={64}
                onInput={(event) => change({ answer: event.currentTarget.value })}
              />
            )}
          </Field>
          <Field label="Counterfactual" class="grow">
            {(id) => (
              <input
                id={id}
                value={draft.counterfactual}
                placeholder="derived from the prompt"
                maxLength={4000}
                spellcheck={false}
                onInput={(event) => change({ counterfactual: event.currentTarget.value })}
              />
            )}
          </Field>
          <CorruptionChoice value={draft.corruption} choose={(corruption) => change({ corruption })} />
          <AnswerChoice value={draft.answerTokens} choose={(answerTokens) => change({ answerTokens })} />
        </div>
      </details>
    </>
  );
}

export function ModelChoice({
  cards,
  chosen,
  change,
}: {
  cards: readonly ModelCard[];
  chosen: string | null;
  change: (part: { model: string }) => void;
}) {
  const card = cards.find(({ id }) => id === chosen);
  return (
    <Field label="Model" class="grow">
      {(id) => (
        <select
          id={id}
          value={chosen ?? ''}
          disabled={cards.length === 0}
          onChange={(event) => change({ model: event.currentTarget.value })}
          title={card ? `${card.layers} layers of ${card.heads} heads` : ''}
        >
          {cards.length === 0 && <option value="">no model yet</option>}
          {cards.map((model) => (
            <option key={model.id} value={model.id} disabled={!model.supported}>
              {model.supported
                ? `${model.name} (${millions(model.parameters)}, ${model.layers} × ${model.heads} heads)`
                : `${model.name}: ${model.reason ?? 'cannot run here'}`}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function RunOptions({
  draft,
  cards,
  change,
  choose,
}: FormPart & { cards: readonly ModelCard[]; choose: (chat: boolean) => void }) {
  const card = cards.find(({ id }) => id === draft.model) ?? null;
  const shots = shotsOf(draft, card);
  return (
    <>
      <Field label="Worked examples">
        {(id) => (
          <select
            id={id}
            value={String(shots)}
            onChange={(event) => change({ shots: Number(event.currentTarget.value) })}
            title="Solved examples placed before the prompt. Small models need them to answer at all."
          >
            {Array.from({ length: MAX_SHOTS + 1 }, (_, i) => (
              <option key={i} value={String(i)}>
                {i === 0 ? 'none' : i}
              </option>
            ))}
          </select>
        )}
      </Field>
      {card?.chat && <ChatBox checked={draft.chat} choose={choose} />}
    </>
  );
}

function ChatBox({ checked, choose }: { checked: boolean; choose: (chat: boolean) => void }) {
  const id = useId();
  return (
    <div class="effect-radio">
      <input
        type="checkbox"
        id={id}
        checked={checked}
        aria-describedby={`${id}-words`}
        onChange={(event) => choose(event.currentTarget.checked)}
      />
      <label for={id}>
        Chat template
        <span id={`${id}-words`} class="faint" aria-hidden="true">
          formats the prompt as a conversation: worked examples become turns, and the assistant repeats the question
        </span>
      </label>
    </div>
  );
}
