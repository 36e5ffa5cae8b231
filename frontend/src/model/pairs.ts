// The kept pairs of a result, as the page offers them.
import type { PairResult, Result } from '../api/wire';

export type Pairs = Pick<Result, 'pairs' | 'attention_pairs'>;

/** Whether a pair's attention can be looked at. Results of early versions do not say: then all can be tried. */
export const stored = (result: Pairs, pair: PairResult): boolean =>
  result.attention_pairs === undefined || result.attention_pairs.includes(pair.index);

/** The pair to show: the one asked for, else the first with attention, else the first. */
export const shownPair = (result: Pairs, prompt: number | null): PairResult | null =>
  result.pairs.find(({ index }) => index === prompt) ??
  result.pairs.find((pair) => stored(result, pair)) ??
  result.pairs[0] ??
  null;
