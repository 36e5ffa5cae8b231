// Prompts from an uploaded file: the usable ones, and what is wrong with the other rows.
import { useRef, useState } from 'preact/hooks';
import { upload } from '../../api/client';
import { FIELDS } from '../../api/vocabulary';
import type { Problem } from '../../api/wire';
import type { CustomDraft, PromptFile } from '../../model/customPrompts';
import { plural } from '../../text/numbers';
import { fieldsOf, TermField } from '../../ui/fields';
import { ErrorMessage, problemOf } from '../../ui/parts';

const SHOWN = 20;

type FileDraft = Omit<CustomDraft, 'keepWrong'>;

export function FileOptions({
  draft,
  change,
  trained = false,
}: {
  draft: FileDraft;
  change: (part: Partial<FileDraft>) => void;
  /** For training or testing: whole answers only. */
  trained?: boolean;
}) {
  const [error, setError] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const latest = useRef(0);
  const read = async (file: File) => {
    const mine = (latest.current += 1);
    setBusy(true);
    setError(null);
    try {
      const uploaded = await upload(file);
      if (mine === latest.current) change({ file: { name: file.name, ...uploaded } });
    } catch (reason) {
      if (mine === latest.current) {
        // The earlier file is not the one that was chosen.
        change({ file: null });
        setError(problemOf(reason));
      }
    }
    if (mine === latest.current) setBusy(false);
  };
  return (
    <div class="set">
      <div class="row">
        <input
          ref={picker}
          hidden
          type="file"
          accept=".csv,.jsonl,.ndjson,text/csv,application/x-ndjson"
          aria-label="File of prompts"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            // Lets the same file be chosen again after a correction.
            event.currentTarget.value = '';
            if (file) void read(file);
          }}
        />
        <button type="button" disabled={busy} onClick={() => picker.current?.click()}>
          {busy ? 'Reading…' : draft.file ? 'Upload another file' : 'Upload a file'}
        </button>
        {fieldsOf(FIELDS.custom, draft, change)('corruption')}
        {!trained && (
          <TermField
            term={FIELDS.custom.answer}
            value={draft.answerTokens}
            change={(answerTokens) => change({ answerTokens })}
          />
        )}
      </div>
      <p class="faint">
        CSV with a column <code>reference</code> and, optionally, <code>counterfactual</code> and <code>answer</code>;
        or JSON Lines with the same keys.
      </p>
      <div role="status">{draft.file && <FileSummary file={draft.file} />}</div>
      {error && <ErrorMessage problem={error} />}
    </div>
  );
}

function FileSummary({ file }: { file: PromptFile }) {
  const { problems, pairs, n_rows } = file;
  // Of the rows beyond the maximum size of a set only the first is listed as a problem.
  const leftOut = n_rows - pairs.length;
  return (
    <>
      <p data-testid="file">
        <bdi class="mono">{file.name}</bdi>: {plural(pairs.length, 'prompt')}
        {leftOut > 0 && `, ${plural(leftOut, 'row')} left out`}.
      </p>
      {file.notes?.map((note) => (
        <p class="faint" key={note}>
          {note}
        </p>
      ))}
      {problems.length > 0 && (
        <div class="notice warn">
          <p>These rows cannot be used; the others can:</p>
          <ul>
            {problems.slice(0, SHOWN).map(({ row, reason }) => (
              <li key={row}>
                row {row}: {reason}
              </li>
            ))}
            {problems.length > SHOWN && <li>and {problems.length - SHOWN} more</li>}
          </ul>
        </div>
      )}
    </>
  );
}
