// The knock-out form: which components, how, and on which prompts.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { models as loadModels, submit } from '../../api/client';
import type { Ablation, KnockoutPositions, KnockoutSpec, Metric, Problem, Result, Spec } from '../../api/wire';
import { componentName, type Component } from '../../model/component';
import {
  ABLATION_LABELS,
  initialKnockout,
  knockoutDraftOf,
  knockoutSpecOf,
  POSITION_LABELS,
  type KnockoutDraft,
} from '../../model/knockoutForm';
import { MAX_SHOTS } from '../../model/analysisForm';
import { isControl } from '../../model/promptSet';
import { analysisFormUrl, prefillForm, takePrefill } from '../../model/prefill';
import { optionsOf } from '../../model/patchingOptions';
import { navigate } from '../../nav';
import { page } from '../../root';
import { METRIC_NAMES } from '../../text/numbers';
import { useLoad } from '../../ui/hooks';
import { ErrorMessage, problemOf } from '../../ui/parts';
import { FileOptions } from '../prompts/file';
import { choicesOf, NumberField, Select } from '../prompts/choices';
import { SetOptions } from '../prompts/set';

export const ABLATIONS = choicesOf<Ablation>(ABLATION_LABELS);
const POSITIONS = choicesOf<KnockoutPositions>(POSITION_LABELS);
export const SHOTS = Array.from(
  { length: MAX_SHOTS + 1 },
  (_, i) => [String(i), i === 0 ? 'none' : String(i)] as const,
);

interface FormProps {
  id: string;
  result: Result;
  metric: Metric;
  pins: readonly Component[];
}

export function KnockoutForm({ id, result, metric, pins }: FormProps) {
  const single = result.pairs.length < 2;
  const prompts = result.spec.prompts;
  const [draft, setDraft] = useState<KnockoutDraft>(() => {
    const prefill = takePrefill<KnockoutSpec>('knockout', ({ parent }) => parent === id);
    return prefill ? knockoutDraftOf(prefill, prompts) : initialKnockout(pins, single, prompts);
  });
  const [error, setError] = useState<Problem | null>(null);
  const [sending, setSending] = useState(false);
  const cards = useLoad('models', loadModels);
  const chats = cards.data?.find((card) => card.id === result.model.id)?.chat ?? false;
  const change = (part: Partial<KnockoutDraft>) => {
    setDraft((old) => ({ ...old, ...part }));
    setError(null);
  };
  // Components pinned while the form is open are taken over.
  const pinned = pins.map(componentName).join(', ');
  const before = useRef(pinned);
  useEffect(() => {
    if (before.current !== pinned && pinned !== '') change({ components: pinned, which: 'these' });
    before.current = pinned;
  }, [pinned]);

  const submission = knockoutSpecOf({ ...draft, chat: draft.chat && chats }, id, metric);
  // The mean and another prompt are taken over the evaluated prompts: a single one has neither.
  const tooFew = single && draft.prompts === 'same' && draft.ablation !== 'zero';
  const run = async () => {
    if (sending || !submission.spec || tooFew) return;
    setSending(true);
    setError(null);
    try {
      const { experiment, existing } = await submit(submission.spec);
      navigate(page(`analyses/${experiment.id}`), {
        note: existing ? 'The same knock-out already exists: here it is.' : null,
      });
    } catch (reason) {
      setError(problemOf(reason));
      setSending(false);
    }
  };
  return (
    <form
      class="set"
      aria-label="New knock-out"
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      <fieldset class="choices">
        <legend>Components removed</legend>
        <Radio name="which" checked={draft.which === 'top'} pick={() => change({ which: 'top' })}>
          the top by {METRIC_NAMES[metric]}
        </Radio>
        <Radio name="which" checked={draft.which === 'these'} pick={() => change({ which: 'these' })}>
          these components
        </Radio>
      </fieldset>
      {draft.which === 'top' ? (
        <div class="row">
          <NumberField label="Top k" value={draft.topK} change={(topK) => change({ topK })} />
          <Select
            label="Among"
            value={draft.among}
            choices={[
              ['any', 'heads and MLPs'],
              ['head', 'heads'],
            ]}
            choose={(among) => change({ among })}
          />
        </div>
      ) : (
        <div class="field">
          <label for="knock-these">Components, in order of removal</label>
          <input
            id="knock-these"
            value={draft.components}
            spellcheck={false}
            autocomplete="off"
            maxLength={2000}
            placeholder="L14H2, MLP19"
            onInput={(event) => change({ components: event.currentTarget.value })}
          />
        </div>
      )}
      <div class="row">
        <Select
          label="Replace with"
          value={draft.ablation}
          choices={ABLATIONS}
          choose={(ablation) => change({ ablation })}
        />
        <Select
          label="Where"
          value={draft.positions}
          choices={POSITIONS}
          choose={(positions) => change({ positions })}
        />
        <NumberField label="Random controls" value={draft.controls} change={(controls) => change({ controls })} />
      </div>
      <fieldset class="choices">
        <legend>Prompts</legend>
        <Radio
          name="prompts"
          checked={draft.prompts === 'same'}
          pick={() => change({ prompts: 'same', disjoint: false })}
        >
          those of this analysis
        </Radio>
        <Radio name="prompts" checked={draft.prompts === 'new'} pick={() => change({ prompts: 'new', disjoint: true })}>
          a new set
        </Radio>
        <Radio name="prompts" checked={draft.prompts === 'own'} pick={() => change({ prompts: 'own', disjoint: true })}>
          prompts from a file
        </Radio>
      </fieldset>
      {draft.prompts === 'same' ? (
        <p class="faint">
          Components chosen on these same prompts look more important than they are: a new set with other operands is a
          fairer test.
        </p>
      ) : (
        <>
          {draft.prompts === 'new' ? (
            <SetOptions draft={draft.set} change={(part) => change({ set: { ...draft.set, ...part } })} />
          ) : (
            <FileOptions draft={draft.own} change={(part) => change({ own: { ...draft.own, ...part } })} />
          )}
          <div class="row">
            <Select
              label="Worked examples"
              value={String(draft.shots)}
              choices={SHOTS}
              choose={(next) => change({ shots: Number(next) })}
            />
            {chats && (
              <label class="check">
                <input
                  type="checkbox"
                  checked={draft.chat}
                  onChange={(event) => change({ chat: event.currentTarget.checked })}
                />
                Chat template
              </label>
            )}
          </div>
          <label class="check">
            <input
              type="checkbox"
              checked={draft.disjoint}
              onChange={(event) => change({ disjoint: event.currentTarget.checked })}
            />
            Exclude operands that this analysis used
          </label>
          {draft.disjoint && prompts.source === 'template' && prompts.half == null && (
            <p class="faint">
              It used{' '}
              {isControl(prompts.topic ?? 'question')
                ? 'all questions'
                : `all operands from ${prompts.operands[0]} to ${prompts.operands[1]}`}
              , so none may be left. Instead,{' '}
              <button
                type="button"
                class="quiet"
                onClick={() => {
                  prefillForm({
                    ...result.spec,
                    ...optionsOf(result.spec),
                    prompts: { ...prompts, half: 'first' },
                  } as Spec);
                  navigate(page(analysisFormUrl(result.spec)));
                }}
              >
                run the analysis on the first half
              </button>{' '}
              of them: its knock-outs then use the second half.
            </p>
          )}
        </>
      )}
      <details class="fold">
        <summary>Advanced</summary>
        <div class="row">
          <NumberField
            label="Generated answer tokens (at most)"
            value={draft.answerTokens}
            change={(answerTokens) => change({ answerTokens })}
          />
          <NumberField label="Seed" value={draft.seed} change={(seed) => change({ seed })} />
        </div>
      </details>
      {submission.problem !== null && <p class="notice warn">{submission.problem}</p>}
      {tooFew && (
        <p class="notice warn">
          A single prompt has no mean and no other prompt to draw from: replace with zero, or choose a new set.
        </p>
      )}
      <div class="row go">
        <button type="submit" class="primary" disabled={sending || submission.spec === null || tooFew}>
          {sending ? 'Submitting…' : 'Knock out'}
        </button>
      </div>
      {error && <ErrorMessage problem={error} />}
    </form>
  );
}

export function Radio({
  name,
  checked,
  pick,
  children,
}: {
  name: string;
  checked: boolean;
  pick: () => void;
  children: ComponentChildren;
}) {
  return (
    <label class="check">
      <input type="radio" name={name} checked={checked} onChange={pick} />
      {children}
    </label>
  );
}
