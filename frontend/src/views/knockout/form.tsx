// The knock-out form: which components, how, and on which prompts.
import { useEffect, useRef } from 'preact/hooks';
import { FIELDS } from '../../api/vocabulary';
import type { KnockoutSpec, Metric, ModelCard, Result, Spec } from '../../api/wire';
import { componentName, type Component } from '../../model/component';
import { no } from '../../model/fields';
import { initialKnockout, knockoutDraftOf, knockoutSpecOf, type KnockoutDraft } from '../../model/knockoutForm';
import { DEFAULT_SET, isControl } from '../../model/promptSet';
import { Check, fieldsOf, RadioGroup } from '../../ui/fields';
import { FormFrame, useExperimentForm } from '../experiment/form';
import { FirstHalf } from '../prompts/firstHalf';
import { FileOptions } from '../prompts/file';
import { ChatCheck, ShotsChoice } from '../prompts/model';
import { SetOptions } from '../prompts/set';

interface FormProps {
  id: string;
  result: Result;
  metric: Metric;
  pins: readonly Component[];
}

export function KnockoutForm({ id, result, metric, pins }: FormProps) {
  const single = result.pairs.length < 2;
  const prompts = result.spec.prompts;
  const view = { prompts, metric, pins, single };
  const chats = (cards: readonly ModelCard[] | null) =>
    cards?.find((card) => card.id === result.model.id)?.chat ?? false;
  const form = useExperimentForm<KnockoutDraft, KnockoutSpec>({
    kind: 'knockout',
    fits: ({ parent }) => parent === id,
    first: (prefill) => (prefill ? knockoutDraftOf(prefill, view) : initialKnockout(view)),
    build: (draft, { data }) =>
      // The mean and another prompt are taken over the evaluated prompts: a single one has neither.
      single && draft.prompts === 'same' && draft.ablation !== 'zero'
        ? no('A single prompt has no mean and no other prompt to draw from: replace with zero, or choose a new set.')
        : knockoutSpecOf({ ...draft, chat: draft.chat && chats(data) }, id),
  });
  const { draft, change } = form;
  const field = fieldsOf(FIELDS.knockout, draft, change);
  // Components pinned while the form is open are taken over.
  const pinned = pins.map(componentName).join(', ');
  const before = useRef(pinned);
  const take = useRef(change);
  take.current = change;
  useEffect(() => {
    if (before.current !== pinned && pinned !== '') take.current({ components: pinned, which: 'these' });
    before.current = pinned;
  }, [pinned]);
  return (
    <FormFrame form={form} label="New knock-out" button="Knock out">
      <RadioGroup
        legend="Components removed"
        name="which"
        value={draft.which}
        choices={[
          ['top', 'the top components'],
          ['these', 'these components'],
        ]}
        choose={(which) => change({ which })}
      />
      {draft.which === 'top' ? (
        <div class="row">
          {field('top_k')}
          {field('metric')}
          {field('among')}
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
        {field('ablation')}
        {field('positions')}
        {field('controls')}
      </div>
      <RadioGroup
        legend="Prompts"
        name="prompts"
        value={draft.prompts}
        choices={[
          ['same', 'those of this analysis'],
          ['new', 'a new set'],
          ['own', 'prompts from a file'],
        ]}
        choose={(next) => change({ prompts: next, disjoint: next !== 'same' })}
      />
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
            <ShotsChoice value={draft.shots} change={(shots) => change({ shots })} />
            {chats(form.models.data) && <ChatCheck checked={draft.chat} change={(chat) => change({ chat })} />}
          </div>
          <Check
            checked={draft.disjoint}
            change={(disjoint) => change({ disjoint })}
            title={FIELDS.knockout.disjoint.help}
          >
            {FIELDS.knockout.disjoint.label}
          </Check>
          {draft.disjoint && prompts.source === 'template' && prompts.half == null && (
            <p class="faint">
              It used{' '}
              {isControl(prompts.topic ?? DEFAULT_SET.topic)
                ? 'all questions'
                : `all operands from ${prompts.operands[0]} to ${prompts.operands[1]}`}
              , so none may be left. Instead,{' '}
              <FirstHalf spec={result.spec as Spec}>run the analysis on the first half</FirstHalf> of them: its
              knock-outs then use the second half.
            </p>
          )}
        </>
      )}
      <details class="fold">
        <summary>Advanced</summary>
        <div class="row">
          {field('answer_tokens')}
          {field('seed')}
        </div>
      </details>
    </FormFrame>
  );
}
