// The home page: a working prompt, one button, and next to them a finished example.
import { useEffect, useRef, useState } from 'preact/hooks';
import { experiments, models as loadModels, submit } from '../../api/client';
import type { Problem } from '../../api/wire';
import { takePrefill } from '../../model/prefill';
import {
  analysisDraftOf,
  analysisSpecOf,
  answerTokensOf,
  BUNDLED_PROMPT,
  defaultModel,
  initialDraft,
  type Draft,
} from '../../model/analysisForm';
import { readChat, readOptions, writeChat, writeOptions } from '../../model/patchingOptions';
import { navigate, type Address } from '../../nav';
import { page } from '../../root';
import { requestedPairs, estimate } from '../../text/experiment';
import { duration } from '../../text/numbers';
import { useLoad, useShortcut } from '../../ui/hooks';
import { Link, Notice, ErrorMessage, problemOf } from '../../ui/parts';
import { useListChanges } from '../../ui/undo';
import { SetOptions } from '../prompts/set';
import { Example } from './example';
import { FileOptions } from '../prompts/file';
import { BundledModelHint } from './bundledModel';
import { ModelChoice, PromptBox, RunOptions } from './form';
import { PatchingOptions } from './options';
import { PreviewPane } from './preview';
import { Recent } from './recent';

const MODES = { one: 'One prompt', set: 'A set of prompts', file: 'Prompts from a file' };

export function Home({ address }: { address: Address }) {
  const [draft, setDraft] = useState<Draft>(() => {
    const prefill = takePrefill('path_patching');
    return prefill ? analysisDraftOf(prefill) : initialDraft(readOptions(address.search).options);
  });
  const [error, setError] = useState<Problem | null>(null);
  const [sending, setSending] = useState(false);
  const models = useLoad('models', loadModels, 30_000);
  const recent = useLoad('recent', (signal) => experiments(10, signal), 10_000);
  useListChanges(recent.reload);
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    document.title = 'Arithmoscope';
  }, []);
  useShortcut(['/'], () => box.current?.focus());

  const cards = models.data ?? [];
  const chosen = draft.model ?? defaultModel(cards)?.id ?? null;
  // The patching options are in the address: links carry them, and Back restores them.
  const { options, notices: ofOptions } = readOptions(address.search);
  const { chat, notices: ofChat } = readChat(address.search);
  const whole: Draft = { ...draft, ...options, chat, model: chosen };
  const card = cards.find(({ id }) => id === chosen);
  const shown = { ...draft, answerTokens: answerTokensOf(draft, card ?? null) };
  const notices = [...ofOptions, ...ofChat];
  if (chat && card && !card.chat) notices.push(`${card.name} has no chat template: it is used without one.`);
  const search = (next: string) => {
    setError(null);
    navigate(`${location.pathname}${next}`, { replace: true });
  };
  const change = (part: Partial<Draft>) => {
    setDraft((old) => ({ ...old, ...part }));
    setError(null);
  };
  const submission = analysisSpecOf(whole, cards);
  const seconds =
    submission.spec && estimate(recent.data?.items ?? [], submission.spec, requestedPairs(submission.spec));

  const run = async () => {
    if (sending || !submission.spec) return;
    setSending(true);
    setError(null);
    try {
      const { experiment, existing } = await submit(submission.spec);
      navigate(page(`analyses/${experiment.id}`), {
        note: existing ? 'The same analysis already exists: here it is.' : null,
      });
    } catch (reason) {
      setError(problemOf(reason));
      setSending(false);
    }
  };

  return (
    <div class="home">
      <section class="ask" aria-label="New analysis">
        <h1 tabIndex={-1}>See which attention heads and MLPs a language model uses to answer 3 + 5 =</h1>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void run();
          }}
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
          <PreviewPane submission={submission} waiting={models.busy} />
          <div class="row">
            <ModelChoice cards={cards} chosen={chosen} change={change} />
            <RunOptions
              draft={whole}
              cards={cards}
              change={change}
              choose={(next) => search(writeChat(address.search, next))}
            />
          </div>
          <BundledModelHint
            cards={cards}
            chosen={card ?? null}
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
          <PatchingOptions draft={whole} choose={(next) => search(writeOptions(address.search, next))} />
          {models.error && <ErrorMessage problem={models.error} />}
          {models.data?.length === 0 && (
            <p class="notice warn">
              There is no model here yet. Start a worker, or fetch the demo model: arithmoscope models fetch
              smollm2-135m
            </p>
          )}
          <div class="row go">
            <button type="submit" class="primary" disabled={sending || submission.spec === null}>
              {sending ? 'Submitting…' : 'Run analysis'}
            </button>
            {seconds !== null && submission.spec && <span class="faint">about {duration(seconds)}</span>}
          </div>
          {error && <ErrorMessage problem={error} />}
        </form>
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
