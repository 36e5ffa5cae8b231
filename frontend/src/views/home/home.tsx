// The home page: a working prompt, one button, and next to them a finished example.
import { useEffect, useRef } from 'preact/hooks';
import { experiments } from '../../api/client';
import type { AnalysisSpecInput, ModelCard } from '../../api/wire';
import {
  analysisDraftOf,
  analysisSpecOf,
  answerTokensOf,
  BUNDLED_PROMPT,
  initialDraft,
  type Draft,
} from '../../model/analysisForm';
import { readChat, readOptions, writeChat, writeOptions } from '../../model/patchingOptions';
import type { Address } from '../../nav';
import { page } from '../../root';
import { requestedPairs, estimate } from '../../text/experiment';
import { duration } from '../../text/numbers';
import { useLoad, useShortcut } from '../../ui/hooks';
import { Link, Notice, ErrorMessage } from '../../ui/parts';
import { useListChanges } from '../../ui/undo';
import { FormFrame, chosenModel, specFor, useExperimentForm, type InAddress } from '../experiment/form';
import { FileOptions } from '../prompts/file';
import { ModelChoice } from '../prompts/model';
import { SetOptions } from '../prompts/set';
import { Example } from './example';
import { BundledModelHint } from './bundledModel';
import { PromptBox, RunOptions } from './form';
import { PatchingOptions } from './options';
import { PreviewPane, usePreview } from './preview';
import { Recent } from './recent';

const MODES = { one: 'One prompt', set: 'A set of prompts', file: 'Prompts from a file' };

/** The patching options and the chat template are in the address: links carry them, and Back restores them. */
const IN_ADDRESS: Omit<InAddress<Draft>, 'search'> = {
  read: (search, draft) => {
    const { options, notices } = readOptions(search);
    const { chat, notices: ofChat } = readChat(search);
    return { draft: { ...draft, ...options, chat }, notices: [...notices, ...ofChat] };
  },
  write: (draft, search) => writeChat(writeOptions(search, draft), draft.chat),
};

export function Home({ address }: { address: Address }) {
  const form = useExperimentForm<Draft, AnalysisSpecInput>({
    kind: 'path_patching',
    first: (prefill) => (prefill ? analysisDraftOf(prefill) : initialDraft(readOptions(address.search).options)),
    address: { search: address.search, ...IN_ADDRESS },
    build: (draft, models) => specFor(draft.model, models, (model) => analysisSpecOf(draft, model)),
  });
  const { draft, change, models, submission, run } = form;
  const recent = useLoad('recent', (signal) => experiments(10, signal), 10_000);
  useListChanges(recent.reload);
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    document.title = 'Arithmoscope';
  }, []);
  useShortcut(['/'], () => box.current?.focus());

  const { model } = chosenModel(draft.model, models);
  const notices = [...form.notices, ...noTemplate(draft, model)];
  const preview = usePreview(submission);
  const shown = { ...draft, answerTokens: answerTokensOf(draft, model) };
  const seconds =
    submission.spec && estimate(recent.data?.items ?? [], submission.spec, requestedPairs(submission.spec));
  return (
    <div class="home">
      <section class="ask" aria-label="New analysis">
        <h1 tabIndex={-1}>See which attention heads and MLPs a language model uses to answer 3 + 5 =</h1>
        <FormFrame
          form={form}
          class=""
          button="Run analysis"
          quiet
          after={seconds !== null && <span class="faint">about {duration(seconds)}</span>}
        >
          <fieldset class="segments">
            <legend class="unseen">What to analyse</legend>
            {(['one', 'set', 'file'] as const).map((mode) => (
              <label key={mode}>
                <input type="radio" name="mode" checked={draft.mode === mode} onChange={() => change({ mode })} />
                <span>{MODES[mode]}</span>
              </label>
            ))}
          </fieldset>
          {draft.mode === 'one' ? (
            <PromptBox draft={shown} change={change} box={box} submit={() => void run()} />
          ) : draft.mode === 'set' ? (
            <SetOptions draft={shown} change={change} />
          ) : (
            <FileOptions draft={shown} change={change} />
          )}
          <PreviewPane submission={submission} loaded={preview} />
          <div class="row">
            <ModelChoice cards={models.data ?? []} chosen={model?.id ?? null} change={change} />
            <RunOptions draft={draft} card={model} automatic={preview.preview?.shots ?? null} change={change} />
          </div>
          <BundledModelHint
            cards={models.data ?? []}
            chosen={model}
            offer={draft.mode === 'one'}
            pick={({ id }) =>
              change({ model: id, prompt: BUNDLED_PROMPT, shots: null, answer: '', counterfactual: '' })
            }
          />
          {notices.map((notice) => (
            <Notice key={notice} tone="warn">
              {notice}
            </Notice>
          ))}
          <PatchingOptions draft={draft} change={change} />
          {models.error && <ErrorMessage problem={models.error} />}
          {models.data?.length === 0 && (
            <p class="notice warn">
              There is no model here yet. Start a worker, or fetch the demo model: arithmoscope models fetch
              smollm2-135m
            </p>
          )}
        </FormFrame>
        <p class="faint also">
          Or test whether the heads found on one kind of prompt matter on others:{' '}
          <Link to={page('transfer')}>Transfer</Link>
        </p>
      </section>
      <Example />
      <Recent list={recent} />
    </div>
  );
}

const noTemplate = ({ chat }: Draft, model: ModelCard | null): string[] =>
  chat && model && !model.chat ? [`${model.name} has no chat template: it is used without one.`] : [];
