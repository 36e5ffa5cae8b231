// After a deletion: what was deleted, and the way back. It stays until it is used or put away, on every page.
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

/** The list of analyses is another now: whoever shows it reads it again. */
export const announceChange = (): void => {
  dispatchEvent(new Event(CHANGED));
};

/** Calls `then` whenever an analysis was deleted or brought back here. */
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
    // The region is there before it says something: only then is it read aloud.
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
