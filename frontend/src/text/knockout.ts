// Knock-outs in words.
import { CHOICES, DEFAULT_TOP_K } from '../api/vocabulary';
import type { KnockoutMetric, KnockoutSpec } from '../api/wire';
import { valuesOf } from '../model/fields';
import { capital } from './numbers';
import { shortList } from './titles';

export const KNOCKOUT_METRICS: readonly KnockoutMetric[] = valuesOf(CHOICES.KnockMetric);
export const knockoutMetricName = (metric: KnockoutMetric): string => capital(CHOICES.KnockMetric[metric].label);

/** "the top 10", "the top 10 heads", "L14H2, MLP19", "L14H2, L1H1, L2H2 and 5 more". */
export const componentsSummary = ({ components, top_k, among }: KnockoutSpec): string =>
  components ? shortList(components) : `the top ${top_k ?? DEFAULT_TOP_K}${among === 'head' ? ' heads' : ''}`;
