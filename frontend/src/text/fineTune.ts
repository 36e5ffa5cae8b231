// Names and numbers of fine-tunings.
import type { Interval } from '../api/fineTune';
import { CHOICES, FIELDS } from '../api/vocabulary';
import type { Experiment, FineTuneSpec, Tuner } from '../api/wire';
import { labelsOf, valuesOf } from '../model/fields';
import { digits, plural } from './numbers';
import { shortList } from './titles';

/** In the order of the comparison. */
export const TUNERS: readonly Tuner[] = valuesOf(CHOICES.Tuner);
export const TUNER_NAMES: Record<Tuner, string> = labelsOf(CHOICES.Tuner);

/** The controls of a precise fine-tuning. */
export const CONTROLS: readonly Tuner[] = ['random', 'lora', 'full'];

/** "Fine-tuning of L14H2, MLP19", "Fine-tuning of 10 random components", "Fine-tuning with LoRA". */
export function fineTuneTitle({ tuner, components = [] }: FineTuneSpec): string {
  const labels: Record<Tuner, string> = {
    precise: `of ${shortList(components)}`,
    random: `of ${plural(components.length, 'random component')}`,
    offsets: `of output offsets at ${shortList(components)}`,
    lora: 'with LoRA',
    full_matrices: 'of all matrices',
    full: 'of the whole model',
  };
  return `Fine-tuning ${labels[tuner ?? FIELDS.fine_tune.tuner.default] ?? tuner}`;
}

/** True if a fine-tuning that did not succeed may have kept weights: after a step, or after a non-finite loss. */
export function mayHaveKeptSteps({
  state,
  progress,
  error,
}: Pick<Experiment, 'state' | 'progress' | 'error'>): boolean {
  if (state === 'failed') return error?.type.endsWith('training_broke') === true;
  const begun = progress.stage === 'steps' ? progress.done > 0 : ['after', 'saving', 'done'].includes(progress.stage);
  return state === 'cancelled' && begun;
}

/** "9.4 M", "134.5 M", "960", "1.2 B". */
export function count(value: number): string {
  const [size, unit] = value >= 1e9 ? [1e9, ' B'] : value >= 1e6 ? [1e6, ' M'] : [1, ''];
  return unit === '' ? value.toLocaleString('en') : `${(value / size).toFixed(1)}${unit}`;
}

/** A share of questions: "81.5 %". */
export const share = (value: number): string => `${(100 * value).toFixed(1)} %`;

/** The ends of an interval of shares: "75.0 to 86.2 %", or "no interval". */
export const shareRange = ({ low, high }: Interval): string =>
  low === null || high === null ? 'no interval' : `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`;

/** A change of a share in percentage points: "+64.0", "−3.5", "0.0". */
export function points(value: number): string {
  const text = (100 * value).toFixed(1);
  if (Number(text) === 0) return '0.0';
  return value > 0 ? `+${text}` : minus(text);
}

export const pointRange = ({ low, high }: Interval): string =>
  low === null || high === null ? 'no interval' : `${points(low)} to ${points(high)}`;

export const range = ({ low, high }: Interval): string =>
  low === null || high === null ? 'no interval' : `${digits(low)} to ${digits(high)}`;

/** True if the interval of a change covers 0: there may be no change. */
export const includesZero = ({ low, high }: Interval): boolean =>
  low !== null && high !== null && low <= 0 && high >= 0;

const minus = (text: string): string => text.replace(/-/g, '−');
