// The head of every experiment: its name, what was asked in short, where it stands, and what can be done with it.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { cancel, remove } from '../../api/client';
import type { Experiment, Problem } from '../../api/wire';
import { navigate } from '../../nav';
import { page } from '../../root';
import { isFinal, STATE_WORDS } from '../../text/experiment';
import { asked, nameOf } from '../../text/titles';
import { CopyLink, TroubleBlock, troubleOf } from '../../ui/parts';
import { tellDeleted } from '../../ui/undo';
import { Words } from './words';

/** The example belongs to the program: it has no owner who could name or delete it. */
export const EXAMPLE = 'example';

export interface HeaderProps {
  experiment: Experiment;
  put: (experiment: Experiment) => void;
  /** Pairs in the numbers, for the title of a set. */
  kept?: number;
  /** Said beside the name: the model, what was done. */
  facts?: ComponentChildren;
  /** Before and after the link to this view. */
  before?: ComponentChildren;
  after?: ComponentChildren;
  /** What went wrong with a tool. */
  trouble?: Problem | null;
}

export function ExperimentHeader({ experiment, put, kept, facts, before, after, trouble: other }: HeaderProps) {
  const [trouble, setTrouble] = useState<Problem | null>(null);
  const { spec, state, id } = experiment;
  const tried = (work: () => Promise<void>) => async () => {
    try {
      await work();
      setTrouble(null);
    } catch (reason) {
      setTrouble(troubleOf(reason));
    }
  };
  const stop = tried(async () => put(await cancel(id)));
  const drop = tried(async () => {
    await remove(id);
    tellDeleted({ id, name: nameOf(experiment, kept) });
    navigate(page(''));
  });
  const shown = trouble ?? other;
  return (
    <header class="head">
      <h1 tabIndex={-1} class={experiment.name ? 'named' : ''}>
        <bdi>{nameOf(experiment, kept)}</bdi>
      </h1>
      <p class="facts">
        {experiment.name && (
          <span class="mono">
            <bdi>{asked(spec, kept)}</bdi>
          </span>
        )}
        {facts}
        <span class={`state state-${state}`} data-testid="state">
          {experiment.cancel_requested && !isFinal(state) ? 'cancelling' : STATE_WORDS[state]}
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
      {id !== EXAMPLE && <Words experiment={experiment} put={put} />}
      {shown && <TroubleBlock problem={shown} />}
    </header>
  );
}
