// Form fields for one prompt and the run.
import type { RefObject } from 'preact';
import { useId } from 'preact/hooks';
import { FIELDS } from '../../api/vocabulary';
import type { ModelCard } from '../../api/wire';
import type { Draft } from '../../model/analysisForm';
import type { SetDraft } from '../../model/promptSet';
import { fieldsOf, TermField } from '../../ui/fields';
import { Field } from '../../ui/parts';
import { ShotsChoice } from '../prompts/model';

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
            maxLength={FIELDS.pair.reference.maxLength}
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
                maxLength={FIELDS.pair.answer.maxLength}
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
                maxLength={FIELDS.pair.counterfactual.maxLength}
                spellcheck={false}
                onInput={(event) => change({ counterfactual: event.currentTarget.value })}
              />
            )}
          </Field>
          {fieldsOf(FIELDS.custom, draft, change)('corruption')}
          <TermField
            term={FIELDS.custom.answer}
            value={draft.answerTokens}
            change={(answerTokens) => change({ answerTokens })}
          />
        </div>
      </details>
    </>
  );
}

export function RunOptions({
  draft,
  card,
  automatic,
  change,
}: FormPart & {
  card: ModelCard | null;
  /** The number of worked examples that suits the prompt and the model; null while it is not known. */
  automatic: number | null;
}) {
  return (
    <>
      <ShotsChoice
        value={draft.shots}
        {...(automatic === null ? {} : { automatic: `automatic (${automatic === 0 ? 'none' : automatic})` })}
        change={(shots) => change({ shots })}
      />
      {card?.chat && <ChatBox checked={draft.chat} choose={(chat) => change({ chat })} />}
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
        {FIELDS.custom.chat.label}
        <span id={`${id}-words`} class="faint" aria-hidden="true">
          {FIELDS.custom.chat.help}
        </span>
      </label>
    </div>
  );
}
