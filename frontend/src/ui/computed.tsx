// Reports that a worker computes on demand: the waiting, the error, and the content.
import type { ComponentChildren } from 'preact';
import { useElapsed, useLoad } from './hooks';
import { ErrorMessage } from './parts';

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
      {busy && <Waiting text={waiting} />}
      {data && children(data)}
    </>
  );
}

const LATE_MS = 10_000;

/** A waiting message, extended after a while by why it may take long. */
export function Waiting({ text }: { text: string }) {
  const late = useElapsed(LATE_MS);
  return (
    <p class="faint" role="status">
      {text}
      {late && ' Waiting for the worker to finish its current run.'}
    </p>
  );
}
