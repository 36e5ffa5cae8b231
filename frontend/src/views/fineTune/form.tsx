// The fine-tuning form: components, questions, settings, controls. All of it but files is in the address.
import { useEffect } from 'preact/hooks';
import { result as readResult, submit } from '../../api/client';
import { CHOICES, FIELDS } from '../../api/vocabulary';
import type { FineTuneSpec, Result, Tuner } from '../../api/wire';
import { toggled } from '../../model/analysisForm';
import { fromResult } from '../../model/effects';
import { no } from '../../model/fields';
import {
  supportingComponents,
  controlsOf,
  fineTuneDraftOf,
  fineTuneSpecOf,
  initialFineTune,
  TOP_K,
  type FineTuneDraft,
  type ParentAnalysis,
} from '../../model/fineTuneForm';
import { readFineTuneUrl, writeFineTuneUrl } from '../../model/fineTuneUrl';
import type { Address } from '../../nav';
import { isAnalysis, shortList } from '../../text/titles';
import { CONTROLS, TUNER_NAMES, TUNERS } from '../../text/fineTune';
import { useLoad } from '../../ui/hooks';
import { Check, RadioGroup, Select, TermField } from '../../ui/fields';
import { Notice, ErrorMessage, problemOf } from '../../ui/parts';
import { FormFrame, chosenModel, specFor, useExperimentForm, type InAddress } from '../experiment/form';
import { ParentLink, useParent } from '../knockout/parent';
import { ModelChoice } from '../prompts/model';
import { FineTunePreviewPane } from './preview';
import { Questions } from './questions';
import type { FineTuneFormProps } from './formProps';
import { Settings } from './settings';

type Draft = FineTuneDraft & { model: string | null; parent: string | null };

const IN_ADDRESS: Omit<InAddress<Draft>, 'search'> = {
  // Files are not in the address: they are handed over.
  read: (search, { own, test }) => {
    const { draft, notices, ...rest } = readFineTuneUrl(search);
    return { draft: { ...draft, own, test, ...rest }, notices };
  },
  write: ({ model, parent, ...draft }) => writeFineTuneUrl({ draft, model, parent }),
};

export function NewFineTune({ address }: { address: Address }) {
  const parentId = new URLSearchParams(address.search).get('parent');
  const parent = useParent(parentId);
  const analysis = parent?.row && isAnalysis(parent.row.spec) ? parent.row.spec : null;
  const ranked = useLoad(`ranking of ${analysis ? parentId : ''}`, async (signal) =>
    analysis && parentId !== null ? ((await readResult(parentId, signal)) as Result) : null,
  );
  useEffect(() => {
    document.title = 'Fine-tuning · Arithmoscope';
  }, []);
  const originOf = ({ metric }: Draft): ParentAnalysis | null => {
    if (!analysis || parentId === null) return null;
    const table = ranked.data && fromResult(ranked.data, metric);
    const { model, prompts } = analysis;
    return { id: parentId, model, prompts, ranked: table ? supportingComponents(table) : null };
  };
  const opening = parent !== null && !parent.row && !parent.gone;
  const form = useExperimentForm<Draft, FineTuneSpec>({
    kind: 'fine_tune',
    first: (prefill) => ({
      ...(prefill ? fineTuneDraftOf(prefill) : initialFineTune(false)),
      model: null,
      parent: null,
    }),
    address: { search: address.search, ...IN_ADDRESS },
    build: (draft, models) =>
      opening
        ? no('Loading models…')
        : specFor(draft.model ?? analysis?.model ?? null, models, (model) =>
            fineTuneSpecOf(draft, { model, origin: originOf(draft) }),
          ),
    then: (spec, draft) => submitControls(controlsOf(spec, draft.controls)),
  });
  const { draft, change, notices, models, submission } = form;
  const origin = originOf(draft);
  const { model: card } = chosenModel(draft.model ?? analysis?.model ?? null, models);
  const controls = draft.controls.filter((tuner) => tuner !== draft.tuner);
  return (
    <div class="workspace tuning-new">
      <div class="narrow">
        <h1 tabIndex={-1}>Fine-tuning</h1>
        <p>
          Does training only the components that do the arithmetic improve it, and is everything else preserved? Only
          the chosen parameters are trained; the model is evaluated before and after, on operands that it was not
          trained on.
        </p>
        {parent && (
          <p class="faint">
            {parent.gone ? (
              'Its analysis was deleted: the fine-tuning runs without it.'
            ) : parent.row && !analysis ? (
              'The parent experiment is not an analysis: the fine-tuning runs without it.'
            ) : (
              <>
                The components are those <ParentLink parent={parent} />.
              </>
            )}
          </p>
        )}
      </div>
      {notices.map((notice) => (
        <Notice key={notice} tone="warn">
          {notice}
        </Notice>
      ))}
      <FormFrame
        form={form}
        label="New fine-tuning"
        button="Fine-tune"
        quiet
        after={
          <span class="faint">
            {controls.length === 0
              ? 'one training run'
              : `${1 + controls.length} training runs, one after another: this one, then ${namesOf(controls)}`}
          </span>
        }
      >
        <div class="row">
          <ModelChoice cards={models.data ?? []} chosen={card?.id ?? null} change={change} />
        </div>
        {models.error && <ErrorMessage problem={models.error} />}
        {ranked.error && draft.which === 'top' && <ErrorMessage problem={ranked.error} />}
        <ComponentChoice draft={draft} change={change} origin={origin} />
        <Questions draft={draft} change={change} origin={origin} card={card} parent={analysis} />
        <Settings draft={draft} change={change} card={card} />
        <Controls draft={draft} change={change} />
        <FineTunePreviewPane submission={submission} />
      </FormFrame>
    </div>
  );
}

const namesOf = (tuners: readonly Tuner[]): string => tuners.map((tuner) => TUNER_NAMES[tuner]).join(', ');

/** Submits controls with a run; returns a note on their outcome. */
export async function submitControls(specs: readonly FineTuneSpec[]): Promise<string> {
  const [submitted, refused]: [string[], string[]] = [[], []];
  for (const spec of specs) {
    const name = TUNER_NAMES[spec.tuner ?? FIELDS.fine_tune.tuner.default];
    try {
      await submit(spec);
      submitted.push(name);
    } catch (reason) {
      refused.push(`“${name}” was refused: ${problemOf(reason).detail}`);
    }
  }
  const submittedNote = submitted.length > 0 ? [`Controls submitted, too: ${submitted.join(', ')}.`] : [];
  return [...submittedNote, ...refused].join(' ');
}

function ComponentChoice({ draft, change, origin }: FineTuneFormProps & { origin: ParentAnalysis | null }) {
  const top = origin?.ranked?.slice(0, Math.max(0, Number(draft.top_k) || 0)) ?? [];
  return (
    <>
      <RadioGroup
        legend="Components to train"
        name="which"
        value={draft.which}
        choices={[
          ...(origin || draft.which === 'top' ? [['top', 'the top components of the analysis'] as const] : []),
          ['these', 'these components'],
        ]}
        choose={(which) =>
          change(which === 'top' ? { which } : { which, components: draft.components || top.join(', ') })
        }
      />
      {draft.which === 'top' ? (
        <>
          <div class="row">
            <TermField term={TOP_K} value={draft.top_k} change={(top_k) => change({ top_k })} />
            <TermField term={FIELDS.knockout.metric} value={draft.metric} change={(metric) => change({ metric })} />
          </div>
          {top.length > 0 && (
            <p class="faint" data-testid="top">
              {shortList(top)}
            </p>
          )}
        </>
      ) : (
        <div class="field">
          <label for="tune-these">Components</label>
          <input
            id="tune-these"
            value={draft.components}
            spellcheck={false}
            autocomplete="off"
            placeholder="L14H2, MLP19"
            onInput={(event) => change({ components: event.currentTarget.value })}
          />
        </div>
      )}
      <div class="row">
        <Select
          label={FIELDS.fine_tune.tuner.label}
          class="grow"
          value={draft.tuner}
          choices={TUNERS.map((tuner) => [tuner, `${TUNER_NAMES[tuner]}: ${CHOICES.Tuner[tuner].help}`] as const)}
          choose={(tuner) => change({ tuner })}
        />
      </div>
    </>
  );
}

function Controls({ draft, change }: FineTuneFormProps) {
  const offered: readonly Tuner[] = draft.tuner === 'precise' ? CONTROLS : ['precise', ...CONTROLS];
  return (
    <fieldset class="controls">
      <legend>Controls</legend>
      {offered
        .filter((tuner) => tuner !== draft.tuner)
        .map((tuner) => (
          <Check
            key={tuner}
            checked={draft.controls.includes(tuner)}
            change={() => change({ controls: toggled(draft.controls, tuner, TUNERS) })}
          >
            {TUNER_NAMES[tuner]} <span class="faint">{CHOICES.Tuner[tuner].help}</span>
          </Check>
        ))}
      <p class="faint">
        Each is a separate fine-tuning with the same steps on the same questions. Random components learn much of the
        task, too: without them, the benefit of choosing components is unknown.
      </p>
    </fieldset>
  );
}
