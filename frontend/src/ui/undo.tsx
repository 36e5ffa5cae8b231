// The toast after a deletion, with Undo. It stays on every page until it is used or dismissed.
import { useEffect, useState } from 'preact/hooks';
import { restore } from '../api/client';
import type { Problem } from '../api/wire';
import { navigate } from '../nav';
import { page } from '../root';
import { problemOf } from './parts';

interface Deleted {
  id: string;
  name: string;
}

const DELETED = 'arithmoscope:deleted';
const CHANGED = 'arithmoscope:changed';

export const announceDeleted = (deleted: Deleted): void => {
  dispatchEvent(new CustomEvent<Deleted>(DELETED, { detail: deleted }));
  announceChange();
};

/** Tells every list of experiments to reload. */
export const announceChange = (): void => {
  dispatchEvent(new Event(CHANGED));
};

/** Calls `then` after an experiment was deleted or restored on this page. */
export function useListChanges(then: () => void): void {
  useEffect(() => {
    addEventListener(CHANGED, then);
    return () => removeEventListener(CHANGED, then);
  });
}

export function UndoToast() {
  const [deleted, setDeleted] = useState<Deleted | null>(null);
  const [error, setError] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    const show = (event: Event) => {
      setDeleted((event as CustomEvent<Deleted>).detail);
      setError(null);
    };
    addEventListener(DELETED, show);
    return () => removeEventListener(DELETED, show);
  }, []);

  const undo = async (id: string) => {
    setBusy(true);
    try {
      await restore(id);
      setDeleted(null);
      announceChange();
      navigate(page(`analyses/${id}`), { note: 'Restored.' });
    } catch (reason) {
      setError(problemOf(reason));
    }
    setBusy(false);
  };
  return (
    // The live region exists before its text: only then is the text read aloud.
    <div class="toast-place" role="status">
      {deleted && (
        <div
          class="toast"
          onKeyDown={(event) => {
            if (event.key === 'Escape') setDeleted(null);
          }}
        >
          <p>
            {error ? (
              <>
                <strong>{error.title}.</strong> {error.detail} {error.way_out}
              </>
            ) : (
              <>
                Deleted <bdi>{deleted.name}</bdi>.
              </>
            )}
          </p>
          {!error && (
            <button type="button" disabled={busy} onClick={() => void undo(deleted.id)}>
              Undo
            </button>
          )}
          <button type="button" class="quiet" onClick={() => setDeleted(null)}>
            Dismiss
          </button>
        </div>
      )}
    </div>
  );
}
