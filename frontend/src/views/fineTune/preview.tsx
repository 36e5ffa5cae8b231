// Preview of a fine-tuning: how many parameters would be trained, on which questions. No model is run.
import { useRef } from 'preact/hooks';
import { tuningPreview } from '../../api/client';
import { CHOICES, FIELDS } from '../../api/vocabulary';
import type { Split, Tunable, TuningPreview } from '../../api/fineTune';
import type { FineTuneSpec, Tuner } from '../../api/wire';
import type { SpecOrProblem } from '../../model/fields';
import { bytes, percent } from '../../text/numbers';
import { shortList } from '../../text/titles';
import { lastLine, visible } from '../../text/tokens';
import { count } from '../../text/fineTune';
import { useLoad, useDebounced } from '../../ui/hooks';
import { ErrorMessage } from '../../ui/parts';

const DEBOUNCE_MS = 400;

export function FineTunePreviewPane({ submission }: { submission: SpecOrProblem<FineTuneSpec> }) {
  const key = JSON.stringify(submission.spec);
  const rested = useDebounced(key, DEBOUNCE_MS);
  const preview = useLoad(`tuning ${rested}`, async (signal) => {
    const spec = JSON.parse(rested) as FineTuneSpec | null;
    return spec && { spec, preview: await tuningPreview(spec, signal) };
  });
  const stale = key !== rested || preview.busy;
  // The earlier preview stays visible, dimmed, until the new one arrives.
  const last = useRef(preview.data);
  if (preview.data || preview.error) last.current = preview.data;
  const shown = preview.data ?? (stale ? last.current : null);
  return (
    <section class={`preview ${stale && shown ? 'stale' : ''}`} aria-label="What would be trained" aria-busy={stale}>
      {submission.problem !== null && <p class="notice warn">{submission.problem}</p>}
      {submission.spec && preview.error && !stale && <ErrorMessage problem={preview.error} />}
      {submission.spec && shown && (
        <PreviewFacts preview={shown.preview} tuner={shown.spec.tuner ?? FIELDS.fine_tune.tuner.default} />
      )}
      {submission.spec && stale && !shown && <p class="faint">Counting…</p>}
    </section>
  );
}

function PreviewFacts({ preview: { tunable, split, notes }, tuner }: { preview: TuningPreview; tuner: Tuner }) {
  return (
    <>
      <p data-testid="trainable">
        <strong>{trainedSummary(tunable)}</strong>
        {tuner === 'lora' && ' LoRA uses the rank that comes closest to it.'}
        {tuner === 'random' && ' The same number of other components is drawn at random.'}
      </p>
      <TunableFacts tunable={tunable} tuner={tuner} />
      <SplitFacts split={split} />
      {notes?.map((note) => (
        <p class="faint" key={note}>
          {note}
        </p>
      ))}
    </>
  );
}

/** "9.43 M of 134 M parameters train (7.0 %)." */
export const trainedSummary = ({ trained, parameters, share }: Tunable): string =>
  `${count(trained)} of ${count(parameters)} parameters train (${percent(share)}).`;

/** Projections trained, heads that share weights with them, and the optimiser's memory. */
export function TunableFacts({ tunable, tuner }: { tunable: Tunable; tuner: Tuner }) {
  const { tune, touched, lowest, optimiser_bytes } = tunable;
  const parts = tune.map((part) => CHOICES.HeadPart[part].label).join(', ');
  return (
    <>
      <p class="faint">
        {(tuner === 'precise' || tuner === 'random') &&
          parts !== '' &&
          `In each head, its slice of these projections: ${parts}. `}
        The lowest trained layer is {lowest}; no gradients are computed below it. The optimiser state takes{' '}
        {bytes(optimiser_bytes)}.
      </p>
      {touched.length > 0 && (
        <details class="notice warn touched">
          <summary>
            {touched.length === 1
              ? 'One head that was not chosen also changes'
              : `${touched.length} heads that were not chosen also change`}
            : {shortList(touched)}
          </summary>
          <p class="mono">{touched.join(', ')}</p>
          <p>They share trained weights with chosen heads.</p>
        </details>
      )}
    </>
  );
}

const SIDES = ['train', 'validation', 'test'] as const;
const SPLIT_NAMES = { train: 'training', validation: 'validation', test: 'test' };

export function SplitFacts({ split }: { split: Split }) {
  return (
    <div class="split">
      <p class={split.shared === 0 ? '' : 'notice warn'}>
        {SIDES.map((side) => `${side} ${split[side].toLocaleString('en')}`).join(', ')}:{' '}
        {split.shared === 0
          ? 'no operands shared.'
          : `${split.shared.toLocaleString('en')} operands occur in more than one of them.`}
      </p>
      <dl class="examples">
        {split.examples.map((example, i) => (
          <div key={i}>
            <dt>{SPLIT_NAMES[SIDES[i] ?? 'test']}</dt>
            <dd class="mono">
              <bdi>{visible(lastLine(example))}</bdi>
            </dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
