// Beforehand: how much would move, on which questions. Nothing is computed for it.
import { useRef } from 'preact/hooks';
import { tuningPreview } from '../../api/client';
import type { Split, Tunable, TuningPreview } from '../../api/tuned';
import type { FineTuneSpec, Tuner } from '../../api/wire';
import type { AskedOr } from '../../model/knock';
import { bytes, percent } from '../../text/numbers';
import { listWords } from '../../text/titles';
import { lastLine, visible } from '../../text/tokens';
import { count, PART_WORDS } from '../../text/tuning';
import { useLoad, useRested } from '../../ui/hooks';
import { TroubleBlock } from '../../ui/parts';

const REST_MS = 400;

export function TuningPreviewPane({ asked }: { asked: AskedOr<FineTuneSpec> }) {
  const key = JSON.stringify(asked.spec);
  const rested = useRested(key, REST_MS);
  const preview = useLoad(`tuning ${rested}`, async (signal) => {
    const spec = JSON.parse(rested) as FineTuneSpec | null;
    return spec && { spec, preview: await tuningPreview(spec, signal) };
  });
  const stale = key !== rested || preview.busy;
  // What was known stays on show, faintly, until it is counted anew.
  const last = useRef(preview.data);
  if (preview.data || preview.trouble) last.current = preview.data;
  const shown = preview.data ?? (stale ? last.current : null);
  return (
    <section class={`preview ${stale && shown ? 'stale' : ''}`} aria-label="What would be trained" aria-busy={stale}>
      {asked.problem !== null && <p class="notice warn">{asked.problem}</p>}
      {asked.spec && preview.trouble && !stale && <TroubleBlock problem={preview.trouble} />}
      {asked.spec && shown && <Foreseen preview={shown.preview} tuner={shown.spec.tuner ?? 'precise'} />}
      {asked.spec && stale && !shown && <p class="faint">Counting…</p>}
    </section>
  );
}

function Foreseen({ preview: { tunable, split, notes }, tuner }: { preview: TuningPreview; tuner: Tuner }) {
  return (
    <>
      <p data-testid="trainable">
        <strong>{trainedWords(tunable)}</strong>
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
export const trainedWords = ({ trained, parameters, share }: Tunable): string =>
  `${count(trained)} of ${count(parameters)} parameters train (${percent(share)}).`;

/** What moves of heads, which others move along, and what the optimiser keeps. */
export function TunableFacts({ tunable, tuner }: { tunable: Tunable; tuner: Tuner }) {
  const { tune, touched, lowest, optimiser_bytes } = tunable;
  const parts = tune.map((part) => PART_WORDS[part]).join(', ');
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
            : {listWords(touched)}
          </summary>
          <p class="mono">{touched.join(', ')}</p>
          <p>They share trained weights with chosen heads.</p>
        </details>
      )}
    </>
  );
}

const SIDES = ['train', 'validation', 'test'] as const;
const SIDE_WORDS = { train: 'training', validation: 'validation', test: 'test' };

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
            <dt>{SIDE_WORDS[SIDES[i] ?? 'test']}</dt>
            <dd class="mono">
              <bdi>{visible(lastLine(example))}</bdi>
            </dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
