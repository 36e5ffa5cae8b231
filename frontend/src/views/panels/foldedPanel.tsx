// A panel that loads its content when it is unfolded: a worker computes it once.
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';
import { useElapsed, useLoad } from '../../ui/hooks';
import { ErrorMessage } from '../../ui/parts';
import { save } from '../../ui/plot';

export function FoldedPanel({
  name,
  words,
  open,
  toggle,
  children,
}: {
  name: string;
  /** The question it answers, in one line. */
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

/** Loads a report, and shows the waiting and the error. */
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
  const { data, error, busy, reload } = useLoad(of, load);
  return (
    <>
      {error && (
        <ErrorMessage problem={error}>
          <button type="button" onClick={reload}>
            Try again
          </button>
        </ErrorMessage>
      )}
      {busy && <Waiting words={waiting} />}
      {data && children(data)}
    </>
  );
}

const LATE_MS = 10_000;

/** A waiting message, extended after a while by why it may take long. */
export function Waiting({ words }: { words: string }) {
  const late = useElapsed(LATE_MS);
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

/** The row count of a long table, with a button for more. */
export function ShowMore({ shown, all, more }: { shown: number; all: number; more: () => void }) {
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
