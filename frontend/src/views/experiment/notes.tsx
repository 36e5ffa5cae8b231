// The form for an experiment's name and notes. Text that could not be saved stays in the fields.
import { useEffect, useState } from 'preact/hooks';
import { edit } from '../../api/client';
import { LIMITS } from '../../api/vocabulary';
import type { Experiment, Problem } from '../../api/wire';
import { changedFields, unsavedEdits, hasUnsavedEdits, keepEdits, remainingEdits, type Edits } from '../../model/notes';
import { Field, ErrorMessage, problemOf } from '../../ui/parts';

/** Leaving the site asks for confirmation while there are unsaved edits. */
export function guardUnsavedEdits(): void {
  addEventListener('beforeunload', (event) => {
    if (hasUnsavedEdits()) event.preventDefault();
  });
}

export function NotesForm({ experiment, put }: { experiment: Experiment; put: (experiment: Experiment) => void }) {
  const kept = { name: experiment.name ?? '', notes: experiment.notes ?? '' };
  const [typed, setTyped] = useState(() => unsavedEdits(experiment.id));
  const [began] = useState(Object.keys(typed).length > 0);
  const [state, setState] = useState<'' | 'saving' | 'saved'>('');
  const [error, setError] = useState<Problem | null>(null);
  const shown = { ...kept, ...typed };
  const different = changedFields(typed, kept);
  const changed = Object.keys(different).length > 0;
  // Edits survive a visit to another page.
  useEffect(() => keepEdits(experiment.id, different));

  const type = (part: Edits) => {
    setTyped((old) => ({ ...old, ...part }));
    setState('');
  };
  const save = async () => {
    if (!changed || state === 'saving') return;
    const sent = different;
    setState('saving');
    try {
      put(await edit(experiment.id, sent));
      // Text typed during the save stays.
      setTyped((now) => remainingEdits(now, sent));
      keepEdits(experiment.id, remainingEdits(unsavedEdits(experiment.id), sent)); // also when the page was left meanwhile
      setError(null);
      setState('saved');
    } catch (reason) {
      setError(problemOf(reason));
      setState('');
    }
  };
  return (
    <details class="fold words" open={began}>
      <summary>
        {kept.notes ? 'Name and notes' : kept.name ? 'Edit the name or add notes' : 'Add a name or notes'}
      </summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <Field label="Name">
          {(id) => (
            <input
              id={id}
              value={shown.name}
              maxLength={LIMITS.name}
              autocomplete="off"
              onInput={(event) => type({ name: event.currentTarget.value })}
            />
          )}
        </Field>
        <Field label="Notes">
          {(id) => (
            <textarea
              id={id}
              rows={4}
              value={shown.notes}
              maxLength={LIMITS.notes}
              onInput={(event) => type({ notes: event.currentTarget.value })}
            />
          )}
        </Field>
        <div class="row">
          <button type="submit" disabled={!changed || state === 'saving'}>
            Save
          </button>
          <span class="faint" role="status" data-testid="saved">
            {state === 'saving' ? 'Saving…' : changed ? 'Not saved yet' : state === 'saved' ? 'Saved' : ''}
          </span>
        </div>
        {error && <ErrorMessage problem={error} />}
      </form>
    </details>
  );
}
