// Which components are key: the three rules side by side, and how many of the heads each takes.
import type { KeyTable } from '../api/results';
import { parseComponent } from './component';

export interface HeadCount {
  components: readonly string[];
  heads: number;
  /** Of the model's heads; null for a model without any. */
  share: number | null;
}

export function countHeads(components: readonly string[], table: Pick<KeyTable, 'heads'>): HeadCount {
  const heads = components.filter((name) => parseComponent(name)?.head != null).length;
  return { components, heads, share: table.heads > 0 ? heads / table.heads : null };
}

/**
 * The first k that hurt the answer, in the order of the rows. `restored`: effects are of putting back, and the most
 * positive ones matter. Those without a number, or that help, are in no ranking.
 */
export const topComponents = (table: Pick<KeyTable, 'rows'>, k: number, restored = false): string[] =>
  table.rows
    .filter(({ mean }) => mean !== null && (restored ? mean > 0 : mean < 0))
    .slice(0, Math.max(0, k))
    .map(({ component }) => component);
