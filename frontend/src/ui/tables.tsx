// Parts of long tables: the download as CSV, and more rows.
import { save } from './plot';

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
