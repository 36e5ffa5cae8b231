// The header of every experiment: name, summary, state, and actions.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { cancel, remove } from '../../api/client';
import type { Experiment, Problem } from '../../api/wire';
import { navigate } from '../../nav';
import { page } from '../../root';
import { isFinal, STATE_LABELS } from '../../text/experiment';
import { specTitle, nameOf } from '../../text/titles';
import { CopyLink, ErrorMessage, problemOf } from '../../ui/parts';
import { announceDeleted } from '../../ui/undo';
import { NotesForm } from './notes';

/** The example belongs to the program: it cannot be named or deleted. */
export const EXAMPLE = 'example';

export interface HeaderProps {
  experiment: Experiment;
  put: (experiment: Experiment) => void;
  /** Pairs in the result, for the title of a set. */
  kept?: number;
  /** Facts next to the name: model, method. */
  facts?: ComponentChildren;
  /** Tools before and after the link to this view. */
  before?: ComponentChildren;
  after?: ComponentChildren;
  /** The error of a tool. */
  error?: Problem | null;
}

export function ExperimentHeader({ experiment, put, kept, facts, before, after, error: other }: HeaderProps) {
  const [error, setError] = useState<Problem | null>(null);
  const { spec, state, id } = experiment;
  const tried = (work: () => Promise<void>) => async () => {
    try {
      await work();
      setError(null);
    } catch (reason) {
      setError(problemOf(reason));
    }
  };
  const stop = tried(async () => put(await cancel(id)));
  const drop = tried(async () => {
    await remove(id);
    announceDeleted({ id, name: nameOf(experiment, kept) });
    navigate(page(''));
  });
  const shown = error ?? other;
  return (
    <header class="head">
      <h1 tabIndex={-1} class={experiment.name ? 'named' : ''}>
        <bdi>{nameOf(experiment, kept)}</bdi>
      </h1>
      <p class="facts">
        {experiment.name && (
          <span class="mono">
            <bdi>{specTitle(spec, kept)}</bdi>
          </span>
        )}
        {facts}
        <span class={`state state-${state}`} data-testid="state">
          {experiment.cancel_requested && !isFinal(state) ? 'cancelling' : STATE_LABELS[state]}
        </span>
      </p>
      <div class="tools">
        {before}
        {!isFinal(state) && (
          <button type="button" class="quiet" disabled={experiment.cancel_requested} onClick={() => void stop()}>
            Cancel
          </button>
        )}
        <CopyLink />
        {after}
        {id !== EXAMPLE && state !== 'running' && (
          <button type="button" class="quiet" onClick={() => void drop()}>
            Delete
          </button>
        )}
      </div>
      {id !== EXAMPLE && <NotesForm experiment={experiment} put={put} />}
      {shown && <ErrorMessage problem={shown} />}
    </header>
  );
}
