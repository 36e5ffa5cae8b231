// Number formats. The minus sign is U+2212, which aligns with digits and is read aloud.
import { CHOICES } from '../api/vocabulary';
import type { Direction, Metric } from '../api/wire';
import { labelsOf, valuesOf } from '../model/fields';

/** "Heads and MLPs", as at the start of a line. */
export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

export const METRIC_DESCRIPTIONS = Object.fromEntries(
  valuesOf(CHOICES.Metric).map((metric) => [metric, capital(CHOICES.Metric[metric].help)]),
) as Record<Metric, string>;

/** Short names, for lists of choices. */
export const METRIC_NAMES: Record<Metric, string> = labelsOf(CHOICES.Metric);

/** What follows a number: " %". */
const unitOf = (metric: Metric): string => {
  const choice = CHOICES.Metric[metric];
  return 'unit' in choice ? choice.unit : '';
};

/**
 * Three significant digits, at most three decimals: 123, 12.3, 1.23, 0.123; smaller values as 1.2e−5; n/a without a
 * value.
 */
export function digits(value: number | null): string {
  // JSON has neither NaN nor infinity: a non-finite value arrives as null.
  if (value === null || !Number.isFinite(value)) return 'n/a';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 0.0005) return minus(value.toExponential(1).replace('e+', 'e'));
  if (size >= 1e6) return minus(value.toExponential(2).replace('e+', 'e'));
  const decimals = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return minus(value.toFixed(decimals));
}

const minus = (text: string): string => text.replace(/-/g, '−');

/** An effect with its unit: "−3.20 %", "n/a". */
export const effect = (value: number | null, metric: Metric): string =>
  value === null ? 'n/a' : `${digits(value)}${unitOf(metric)}`;

export const interval = (low: number | null, high: number | null, metric: Metric): string =>
  low === null || high === null ? 'no interval' : `${digits(low)} to ${digits(high)}${unitOf(metric)}`;

/** For screen readers: "minus 3.2 percent". */
export function speakEffect(value: number | null, metric: Metric): string {
  if (value === null) return 'not computed';
  const number = digits(Math.abs(value)).replace('e−', ' times ten to the minus ');
  const unit = metric === 'relative_logit' ? ' percent' : metric === 'probability' ? '' : ' logits';
  return `${value < 0 ? 'minus ' : ''}${number}${unit}`;
}

/** How effects were measured: by noising, by denoising, or as the difference between two models. */
export type EffectKind = Direction | 'difference';

/** The meaning of an effect's sign: when a component is removed, or restored in the counterfactual run. */
export const SIGN_MEANINGS: Record<EffectKind, { below: string; above: string; none: string }> = {
  noising: { below: 'hurts when removed', above: 'helps when removed', none: 'changes nothing when removed' },
  denoising: { below: 'hurts when put back', above: 'restores the answer', none: 'changes nothing when put back' },
  difference: { below: 'hurts more when removed', above: 'hurts less when removed', none: 'as before' },
};

export function signMeaning(value: number, direction: EffectKind): string {
  const { below, above, none } = SIGN_MEANINGS[direction];
  return value < 0 ? below : value > 0 ? above : none;
}

export const glyph = (value: number): string => (value < 0 ? '▼' : value > 0 ? '▲' : '·');

/** "8 s", "4 min", "1 h 20 min". */
export function duration(seconds: number): string {
  if (seconds < 1) return 'under 1 s';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)} h${rest ? ` ${rest} min` : ''}`;
}

/** "just now", "5 minutes ago", "3 days ago"; the date if older than a month. */
export function ago(then: Date, now: Date): string {
  const seconds = (now.getTime() - then.getTime()) / 1000;
  if (seconds < 60) return 'just now';
  const steps: [number, string][] = [
    [60, 'minute'],
    [3600, 'hour'],
    [86400, 'day'],
  ];
  if (seconds >= 30 * 86400) return then.toISOString().slice(0, 10);
  const [size, word] = steps.findLast(([length]) => seconds >= length) ?? [60, 'minute'];
  return plural(Math.floor(seconds / size), word) + ' ago';
}

/** "0 B", "812 B", "3.4 MB", "120 GB": decimal units, as for disks. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  // A value that rounds up to 1000 takes the next unit.
  const step = units.findIndex((_, power) => Math.round(count / 1000 ** power) < 1000);
  const power = step < 0 ? units.length - 1 : step;
  const value = count / 1000 ** power;
  return `${power > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

export const plural = (count: number, word: string): string =>
  `${count.toLocaleString('en')} ${word}${count === 1 ? '' : 's'}`;

export const percent = (share: number): string =>
  share > 0 && share < 0.001 ? '< 0.1 %' : `${(100 * share).toFixed(1)} %`;

export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

export const millions = (count: number): string =>
  count >= 1e9
    ? `${(count / 1e9).toFixed(1)} B`
    : count >= 1e6
      ? `${(count / 1e6).toFixed(0)} M`
      : count.toLocaleString('en');

/** A layer of the residual stream: the embedding (−1) comes before layer 0. */
export const layerName = (layer: number): string => (layer < 0 ? 'embedding' : String(layer));
