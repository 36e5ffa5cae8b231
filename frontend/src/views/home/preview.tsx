// Preview of the prompt as it is typed: tokens of both prompts, their roles, the answer's token.
import { useEffect, useRef, useState } from 'preact/hooks';
import { preview } from '../../api/client';
import type { PromptsSpec, Preview, PreviewItem, Problem } from '../../api/wire';
import type { AnalysisSpecOrProblem } from '../../model/analysisForm';
import { plural } from '../../text/numbers';
import { rolesIn, visible } from '../../text/tokens';
import { AlignedChips, RoleLegend } from '../../ui/chips';
import { useDebounced } from '../../ui/hooks';
import { ErrorMessage, problemOf } from '../../ui/parts';

const SHOWN = 2;

interface State {
  key: string;
  preview: Preview | null;
  error: Problem | null;
}

export interface LoadedPreview extends State {
  /** It belongs to what was typed before. */
  stale: boolean;
}

/** The preview of the prompts of a spec, once typing pauses. */
export function usePreview({ spec }: AnalysisSpecOrProblem): LoadedPreview {
  const prompts = spec && firstPrompts(spec.prompts);
  const key = useDebounced(spec ? JSON.stringify([spec.model, prompts]) : '', 250);
  const [state, setState] = useState<State>({ key: '', preview: null, error: null });
  const latest = useRef({ model: '', prompts });
  latest.current = { model: spec?.model ?? '', prompts };
  useEffect(() => {
    const controller = new AbortController();
    if (key === '' || !latest.current.prompts) return undefined;
    preview(latest.current.model, latest.current.prompts, controller.signal).then(
      (loaded) => setState({ key, preview: loaded, error: null }),
      (reason: unknown) => {
        if (!controller.signal.aborted) setState({ key, preview: null, error: problemOf(reason) });
      },
    );
    return () => controller.abort();
  }, [key]);
  return { ...state, stale: state.key !== key };
}

export function PreviewPane({
  submission,
  loaded: { preview, error, stale },
}: {
  submission: AnalysisSpecOrProblem;
  loaded: LoadedPreview;
}) {
  return (
    <div id="preview" class={`preview${stale ? ' stale' : ''}`} aria-live="polite" aria-busy={stale}>
      {submission.problem !== null ? (
        <p class="faint">{submission.problem}</p>
      ) : error ? (
        <ErrorMessage problem={error} />
      ) : preview ? (
        <PreviewItems
          preview={preview}
          set={submission.spec?.prompts.source === 'template'}
          matched={submission.spec?.positions === 'all' && submission.spec.source === 'counterfactual'}
        />
      ) : (
        <p class="faint">Tokenising the prompt…</p>
      )}
    </div>
  );
}

/** Of a long list only the shown prompts are sent for the preview. */
const firstPrompts = (prompts: PromptsSpec): PromptsSpec =>
  prompts.source === 'custom' ? { ...prompts, pairs: prompts.pairs.slice(0, SHOWN) } : prompts;

function PreviewItems({
  preview: { items, n_distinct, notes },
  set,
  matched,
}: {
  preview: Preview;
  set: boolean;
  /** Patching at all positions: each position takes the value of the same position in the counterfactual run. */
  matched: boolean;
}) {
  const shown = firstItems(items);
  return (
    <>
      {shown.map((item, i) => (
        <Item key={i} item={item} matched={matched} />
      ))}
      <RoleLegend roles={rolesIn(...shown.flatMap((item) => [item.reference, item.counterfactual]))} />
      {set && (
        <p class="faint">
          The first {questionsIn(shown)} of {plural(n_distinct, 'distinct question')}.
        </p>
      )}
      {notes.map((note) => (
        <p class="faint" key={note}>
          {note}
        </p>
      ))}
    </>
  );
}

const MOST = 6;

/** The first questions, each with all tokens of its answer. */
function firstItems(items: readonly PreviewItem[]): readonly PreviewItem[] {
  const starts = items.flatMap((item, i) => (item.place ? [] : [i]));
  const end = starts[SHOWN] ?? items.length;
  return items.slice(0, Math.min(end, MOST));
}

const questionsIn = (items: readonly PreviewItem[]): number => items.filter((item) => !item.place).length;

function Item({ item, matched }: { item: PreviewItem; matched: boolean }) {
  const [reference, counterfactual] = [item.reference.length, item.counterfactual.length];
  const { place = 0, places = 1 } = item;
  return (
    <div class="preview-item">
      {(item.reference.length > 0 || item.counterfactual.length > 0) && (
        <AlignedChips reference={item.reference} counterfactual={item.counterfactual} />
      )}
      {item.problem === null ? (
        item.answer !== null && (
          <p class="answer">
            answer{' '}
            <span class="chip role-answer">
              <bdi>{visible(item.answer)}</bdi>
            </span>
            {item.answer_id !== null && <span class="faint"> token {item.answer_id}</span>}
            {places > 1 && (
              <span class="faint">
                , token {place + 1} of the answer’s {places}
              </span>
            )}
          </p>
        )
      ) : (
        <p class="notice warn">{item.problem}</p>
      )}
      {matched && item.problem === null && reference !== counterfactual && (
        <p class="notice warn">
          The reference has {plural(reference, 'token')} and its counterfactual {counterfactual}: to be patched at all
          positions they must be of equal length. Patch at the last position, or enter a counterfactual of the same
          length.
        </p>
      )}
    </div>
  );
}
