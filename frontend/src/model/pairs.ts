// The kept pairs of a result.
import type { PairResult, Result } from '../api/wire';

export type Pairs = Pick<Result, 'pairs' | 'attention_pairs'>;

/** True if a pair's attention is stored. Results of early versions do not say: then all are tried. */
export const stored = (result: Pairs, pair: PairResult): boolean =>
  result.attention_pairs === undefined || result.attention_pairs.includes(pair.index);

/** The pair to show: the requested one, else the first with stored attention, else the first. */
export const shownPair = (result: Pairs, prompt: number | null): PairResult | null =>
  result.pairs.find(({ index }) => index === prompt) ??
  result.pairs.find((pair) => stored(result, pair)) ??
  result.pairs[0] ??
  null;
