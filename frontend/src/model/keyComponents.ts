// Key components by each of three rules, and the share of heads among them.
import type { Schema } from '../api/wire';
import { parseComponent } from './component';

export type KeyTable = Schema<'KeyTable'>;

export interface HeadCount {
  components: readonly string[];
  heads: number;
  /** Fraction of the model's heads; null for a model without heads. */
  share: number | null;
}

export function countHeads(components: readonly string[], table: Pick<KeyTable, 'heads'>): HeadCount {
  const heads = components.filter((name) => parseComponent(name)?.head != null).length;
  return { components, heads, share: table.heads > 0 ? heads / table.heads : null };
}

/**
 * The first k rows that hurt the answer when removed; with `restored` (denoising), the first k that restore it. Rows
 * without a value, or with the other sign, are skipped.
 */
export const topComponents = (table: Pick<KeyTable, 'rows'>, k: number, restored = false): string[] =>
  table.rows
    .filter(({ mean }) => mean !== null && (restored ? mean > 0 : mean < 0))
    .slice(0, Math.max(0, k))
    .map(({ component }) => component);
