// Knock-outs in words.
import type { KnockoutSpec } from '../api/wire';
import { DEFAULT_TOP_K, shortList } from './titles';

/** "the top 10", "the top 10 heads", "L14H2, MLP19", "L14H2, L1H1, L2H2 and 5 more". */
export const componentsSummary = ({ components, top_k, among }: KnockoutSpec): string =>
  components ? shortList(components) : `the top ${top_k ?? DEFAULT_TOP_K}${among === 'head' ? ' heads' : ''}`;
