// Shared parts of the forms of all kinds: the draft and its address, the models, submission, and the frame that draws it.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { models as loadModels, submit } from '../../api/client';
import type { AnySpec, ModelCard, Problem } from '../../api/wire';
import { defaultModel } from '../../model/analysisForm';
import { no, type SpecOrProblem } from '../../model/fields';
import { takePrefill } from '../../model/prefill';
import { navigate } from '../../nav';
import { page } from '../../root';
import { kindName } from '../../text/titles';
import { useDebounced, useLoad, type Loaded } from '../../ui/hooks';
import { ErrorMessage, problemOf } from '../../ui/parts';

const DEBOUNCE_MS = 300;

/** How a draft is written into the address of its page. */
export interface InAddress<D> {
  search: string;
  /** The draft with what the address says; notices for what it says wrongly. */
  read: (search: string, draft: D) => { draft: D; notices: readonly string[] };
  write: (draft: D, search: string) => string;
}

export interface FormSetup<D, S extends AnySpec> {
  kind: S['kind'];
  /** The first draft: of a spec that is edited and run again, or of an untouched form. */
  first: (prefill: S | null) => D;
  /** False for a spec that belongs to another form of this kind. */
  fits?: (spec: S) => boolean;
  /** The spec of a draft, or the problem that prevents it. */
  build: (draft: D, models: Loaded<ModelCard[]>) => SpecOrProblem<S>;
  /** Only for a form with a page of its own. */
  address?: InAddress<D>;
  /** Follows the submission; returns a note on it. */
  then?: (spec: S, draft: D) => Promise<string>;
}

export interface ExperimentForm<D, S extends AnySpec> {
  draft: D;
  change: (part: Partial<D>) => void;
  notices: readonly string[];
  models: Loaded<ModelCard[]>;
  submission: SpecOrProblem<S>;
  sending: boolean;
  error: Problem | null;
  run: () => Promise<void>;
}

/** The state of a form. */
export function useExperimentForm<D extends object, S extends AnySpec>(setup: FormSetup<D, S>): ExperimentForm<D, S> {
  const { kind, first, fits, build, address, then } = setup;
  const [state, setState] = useState(() => {
    const draft = first(takePrefill<S>(kind, fits));
    return address ? address.read(address.search, draft) : { draft, notices: [] };
  });
  const [error, setError] = useState<Problem | null>(null);
  const [sending, setSending] = useState(false);
  const models = useLoad('models', loadModels, 30_000);
  useAddress(state.draft, setState, address);

  const submission = build(state.draft, models);
  const run = async () => {
    if (sending || !submission.spec) return;
    setSending(true);
    setError(null);
    try {
      const { experiment, existing } = await submit(submission.spec);
      const notes = [
        existing ? `The same ${kindName(kind)} already exists: here it is.` : '',
        await then?.(submission.spec, state.draft),
      ];
      navigate(page(`analyses/${experiment.id}`), { note: notes.filter((note) => note).join(' ') || null });
    } catch (reason) {
      setError(problemOf(reason));
      setSending(false);
    }
  };
  return {
    ...state,
    change: (part) => {
      setState(({ draft }) => ({ draft: { ...draft, ...part }, notices: [] }));
      setError(null);
    },
    models,
    submission,
    sending,
    error,
    run,
  };
}

/** Writes a draft to the address once typing pauses, and reads it when Back or a link changes the address. */
function useAddress<D>(
  draft: D,
  setState: (next: (old: { draft: D }) => { draft: D; notices: readonly string[] }) => void,
  address?: InAddress<D>,
): void {
  const search = address?.search ?? '';
  const wanted = address ? address.write(draft, search) : '';
  const rested = useDebounced(wanted, DEBOUNCE_MS);
  const written = useRef(search);
  const latest = useRef(address);
  latest.current = address;
  useEffect(() => {
    if (rested !== wanted || rested === written.current) return;
    written.current = rested;
    navigate(`${location.pathname}${rested}`, { replace: true });
  }, [rested, wanted]);
  useEffect(() => {
    if (search === written.current) return;
    written.current = search;
    setState((old) => latest.current?.read(search, old.draft) ?? { ...old, notices: [] });
  }, [search, setState]);
}

/** The chosen model or the default one; a problem if it cannot run. */
export function chosenModel(
  id: string | null,
  { data, busy }: Loaded<ModelCard[]>,
): { model: ModelCard; problem: null } | { model: ModelCard | null; problem: string } {
  const cards = data ?? [];
  const model = id === null ? defaultModel(cards) : (cards.find((card) => card.id === id) ?? null);
  if (model?.supported) return { model, problem: null };
  if (model) return { model, problem: model.reason ?? 'This model cannot run here: choose another.' };
  if (busy && !data) return { model, problem: 'Loading models…' };
  return { model, problem: id === null ? 'No model can run here.' : `There is no model “${id.slice(0, 60)}” here.` };
}

/** The spec for the chosen model, or the problem that prevents it. */
export function specFor<S>(
  id: string | null,
  models: Loaded<ModelCard[]>,
  build: (model: ModelCard) => SpecOrProblem<S>,
): SpecOrProblem<S> {
  const { model, problem } = chosenModel(id, models);
  return problem === null ? build(model) : no(problem);
}

/** The frame of a form: its fields, what prevents a submission, the button, and why a submission was refused. */
export function FormFrame<D, S extends AnySpec>({
  form: { submission, sending, error, run },
  button,
  label,
  class: name = 'set',
  quiet = false,
  after,
  children,
}: {
  form: ExperimentForm<D, S>;
  button: string;
  label?: string;
  class?: string;
  /** The fields already say what prevents a submission. */
  quiet?: boolean;
  /** Beside the button. */
  after?: ComponentChildren;
  children: ComponentChildren;
}) {
  return (
    <form
      class={name}
      aria-label={label}
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      {children}
      {!quiet && submission.problem !== null && <p class="notice warn">{submission.problem}</p>}
      <div class="row go">
        <button type="submit" class="primary" disabled={sending || submission.spec === null}>
          {sending ? 'Submitting…' : button}
        </button>
        {after}
      </div>
      {error && <ErrorMessage problem={error} />}
    </form>
  );
}
