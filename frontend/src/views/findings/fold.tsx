// A finding is asked for when it is unfolded, not before: a worker computes it, once.
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';
import { useLate, useLoad } from '../../ui/hooks';
import { TroubleBlock } from '../../ui/parts';
import { save } from '../../ui/plot';

export function FindingFold({
  name,
  words,
  open,
  toggle,
  children,
}: {
  name: string;
  /** What it answers, in a line. */
  words: string;
  open: boolean;
  toggle: (open: boolean) => void;
  children: () => ComponentChildren;
}) {
  const id = useId();
  return (
    <section class="panel finding" aria-labelledby={id}>
      <h2 id={id}>
        <button type="button" class="unfold" aria-expanded={open} onClick={() => toggle(!open)}>
          <span aria-hidden="true">{open ? '▾' : '▸'}</span> {name}
        </button>
      </h2>
      <p class="faint">{words}</p>
      {open && <div class="finding-body">{children()}</div>}
    </section>
  );
}

/** What `load` brings, said while it is waited for and when it does not come. */
export function Computed<T>({
  of,
  load,
  waiting = 'A worker computes this the first time it is opened…',
  children,
}: {
  of: string;
  load: (signal: AbortSignal) => Promise<T>;
  waiting?: string;
  children: (data: T) => ComponentChildren;
}) {
  const { data, trouble, busy, again } = useLoad(of, load);
  return (
    <>
      {trouble && (
        <TroubleBlock problem={trouble}>
          <button type="button" onClick={again}>
            Try again
          </button>
        </TroubleBlock>
      )}
      {busy && <Waiting words={waiting} />}
      {data && children(data)}
    </>
  );
}

const LATE_MS = 10_000;

/** What is computed, and after a while why that may take long. */
export function Waiting({ words }: { words: string }) {
  const late = useLate(LATE_MS);
  return (
    <p class="faint" role="status">
      {words}
      {late && ' Waiting for the worker to finish its current run.'}
    </p>
  );
}

export function SaveCsv({ name, make }: { name: string; make: () => string }) {
  return (
    <button
      type="button"
      class="quiet"
      onClick={() => save(new Blob([make()], { type: 'text/csv;charset=utf-8' }), name)}
    >
      Save as CSV
    </button>
  );
}

/** The rows of a long table, some at a time. */
export function More({ shown, all, more }: { shown: number; all: number; more: () => void }) {
  return (
    <>
      {Math.min(shown, all)} of {all}.{' '}
      {shown < all && (
        <button type="button" class="quiet" onClick={more}>
          Show more
        </button>
      )}
    </>
  );
}
