// The fine-tuning form: components, questions, settings, controls. All of it but files is in the address.
import { useEffect, useRef, useState } from 'preact/hooks';
import { models as loadModels, result as readResult, submit } from '../../api/client';
import type { FineTuneSpec, Metric, Problem, Result, Tuner } from '../../api/wire';
import { takePrefill } from '../../model/prefill';
import { defaultModel, toggled } from '../../model/analysisForm';
import { fromResult } from '../../model/effects';
import {
  supportingComponents,
  controlsOf,
  fineTuneDraftOf,
  fineTuneSpecOf,
  type ParentAnalysis,
} from '../../model/fineTuneForm';
import { readFineTuneUrl, writeFineTuneUrl } from '../../model/fineTuneUrl';
import { navigate, type Address } from '../../nav';
import { page } from '../../root';
import { METRIC_NAMES } from '../../text/numbers';
import { isAnalysis, shortList } from '../../text/titles';
import { CONTROLS, TUNER_NAMES, TUNER_DESCRIPTIONS, TUNERS } from '../../text/fineTune';
import { useLoad, useDebounced } from '../../ui/hooks';
import { Notice, ErrorMessage, problemOf } from '../../ui/parts';
import { ModelChoice } from '../home/form';
import { Radio } from '../knockout/form';
import { ParentLink, useParent } from '../knockout/parent';
import { choicesOf, NumberField, Select } from '../prompts/choices';
import { FineTunePreviewPane } from './preview';
import { Questions } from './questions';
import type { FineTuneFormProps } from './formProps';
import { Settings } from './settings';

const METRICS = choicesOf<Metric>(METRIC_NAMES);
const DEBOUNCE_MS = 300;

export function NewFineTune({ address }: { address: Address }) {
  const form = useFineTuneForm(address);
  const { draft, change, model, parentId, notices } = form;
  const parent = useParent(parentId);
  const cards = useLoad('models', loadModels);
  const analysis = parent?.row && isAnalysis(parent.row.spec) ? parent.row.spec : null;
  const ranked = useLoad(`ranking of ${analysis ? parentId : ''}`, async (signal) =>
    analysis && parentId !== null ? ((await readResult(parentId, signal)) as Result) : null,
  );
  const [error, setError] = useState<Problem | null>(null);
  const [sending, setSending] = useState(false);
  useEffect(() => {
    document.title = 'Fine-tuning · Arithmoscope';
  }, []);
  useEffect(() => setError(null), [draft]);

  const table = ranked.data && fromResult(ranked.data, draft.metric);
  const origin: ParentAnalysis | null =
    analysis && parentId !== null
      ? {
          id: parentId,
          model: analysis.model,
          prompts: analysis.prompts,
          ranked: table ? supportingComponents(table) : null,
        }
      : null;
  const models = cards.data ?? [];
  const modelId = model ?? origin?.model ?? null;
  const card = modelId === null ? defaultModel(models) : (models.find(({ id }) => id === modelId) ?? null);
  const opening = cards.busy || (parent !== null && !parent.row && !parent.gone);
  const none = (problem: string) => ({ spec: null, problem });
  const ready = opening
    ? none('Loading models…')
    : !card
      ? none(modelId === null ? 'No model can run here.' : `There is no model “${modelId.slice(0, 60)}” here.`)
      : !card.supported
        ? none(card.reason ?? 'This model cannot run here: choose another.')
        : fineTuneSpecOf(draft, { model: card, origin });
  const controls = draft.controls.filter((tuner) => tuner !== draft.tuner);

  const run = async () => {
    if (sending || !ready.spec) return;
    setSending(true);
    setError(null);
    try {
      const { experiment, existing } = await submit(ready.spec);
      const controlsNote = await submitControls(controlsOf(ready.spec, controls));
      const existingNote = existing ? 'The same fine-tuning already exists: here it is.' : '';
      const note = [existingNote, controlsNote].filter((text) => text).join(' ') || null;
      navigate(page(`analyses/${experiment.id}`), { note });
    } catch (reason) {
      setError(problemOf(reason));
      setSending(false);
    }
  };
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
      <form
        class="set"
        aria-label="New fine-tuning"
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <div class="row">
          <ModelChoice cards={models} chosen={card?.id ?? null} change={(part) => form.choose(part.model)} />
        </div>
        {cards.error && <ErrorMessage problem={cards.error} />}
        {ranked.error && draft.which === 'top' && <ErrorMessage problem={ranked.error} />}
        <ComponentChoice draft={draft} change={change} origin={origin} />
        <Questions draft={draft} change={change} origin={origin} card={card} parent={analysis} />
        <Settings draft={draft} change={change} card={card} />
        <Controls draft={draft} change={change} />
        <FineTunePreviewPane submission={ready} />
        <div class="row go">
          <button type="submit" class="primary" disabled={sending || ready.spec === null}>
            {sending ? 'Submitting…' : 'Fine-tune'}
          </button>
          <span class="faint">
            {controls.length === 0
              ? 'one training run'
              : `${1 + controls.length} training runs, one after another: this one, then ${namesOf(controls)}`}
          </span>
        </div>
        {error && <ErrorMessage problem={error} />}
      </form>
    </div>
  );
}

const namesOf = (tuners: readonly Tuner[]): string => tuners.map((tuner) => TUNER_NAMES[tuner]).join(', ');

/** Submits controls with a run; returns a note on their outcome. */
export async function submitControls(specs: readonly FineTuneSpec[]): Promise<string> {
  const [submitted, refused]: [string[], string[]] = [[], []];
  for (const spec of specs) {
    const name = TUNER_NAMES[spec.tuner ?? 'precise'];
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

interface FineTuneForm extends FineTuneFormProps {
  model: string | null;
  parentId: string | null;
  notices: readonly string[];
  choose: (model: string) => void;
}

/** The draft, written to the address once typing pauses; Back and links restore it. */
function useFineTuneForm(address: Address): FineTuneForm {
  const [state, setState] = useState(() => {
    const fromUrl = readFineTuneUrl(address.search);
    const prefill = takePrefill<FineTuneSpec>('fine_tune');
    // Files are not in the address: they are handed over.
    return prefill
      ? {
          ...fromUrl,
          draft: { ...fromUrl.draft, own: fineTuneDraftOf(prefill).own, test: fineTuneDraftOf(prefill).test },
        }
      : fromUrl;
  });
  const written = useRef(address.search);
  const search = writeFineTuneUrl(state);
  const rested = useDebounced(search, DEBOUNCE_MS);
  useEffect(() => {
    if (rested !== search || rested === written.current) return;
    written.current = rested;
    navigate(`${location.pathname}${rested}`, { replace: true });
  }, [rested, search]);
  useEffect(() => {
    if (address.search === written.current) return;
    written.current = address.search;
    setState((old) => {
      const fromUrl = readFineTuneUrl(address.search);
      return { ...fromUrl, draft: { ...fromUrl.draft, own: old.draft.own, test: old.draft.test } };
    });
  }, [address.search]);
  return {
    draft: state.draft,
    model: state.model,
    parentId: state.parent,
    notices: state.notices,
    change: (part) => setState((old) => ({ ...old, draft: { ...old.draft, ...part } })),
    choose: (model) => setState((old) => ({ ...old, model })),
  };
}

function ComponentChoice({ draft, change, origin }: FineTuneFormProps & { origin: ParentAnalysis | null }) {
  const top = origin?.ranked?.slice(0, Math.max(0, Number(draft.topK) || 0)) ?? [];
  return (
    <>
      <fieldset class="choices">
        <legend>Components to train</legend>
        {(origin || draft.which === 'top') && (
          <Radio name="which" checked={draft.which === 'top'} pick={() => change({ which: 'top' })}>
            the top components of the analysis
          </Radio>
        )}
        <Radio
          name="which"
          checked={draft.which === 'these'}
          pick={() => change({ which: 'these', components: draft.components || top.join(', ') })}
        >
          these components
        </Radio>
      </fieldset>
      {draft.which === 'top' ? (
        <>
          <div class="row">
            <NumberField label="Top k" value={draft.topK} change={(topK) => change({ topK })} />
            <Select label="Rank by" value={draft.metric} choices={METRICS} choose={(metric) => change({ metric })} />
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
          label="Parameters trained"
          class="grow"
          value={draft.tuner}
          choices={TUNERS.map((tuner) => [tuner, `${TUNER_NAMES[tuner]}: ${TUNER_DESCRIPTIONS[tuner]}`] as const)}
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
          <label class="check" key={tuner}>
            <input
              type="checkbox"
              checked={draft.controls.includes(tuner)}
              onChange={() => change({ controls: toggled(draft.controls, tuner, TUNERS) })}
            />
            {TUNER_NAMES[tuner]} <span class="faint">{TUNER_DESCRIPTIONS[tuner]}</span>
          </label>
        ))}
      <p class="faint">
        Each is a separate fine-tuning with the same steps on the same questions. Random components learn much of the
        task, too: without them, the benefit of choosing components is unknown.
      </p>
    </fieldset>
  );
}
