import type { TuneDraft } from '../../model/tune';

/** Props of every part of the fine-tuning form. */
export interface TunePart {
  draft: TuneDraft;
  change: (part: Partial<TuneDraft>) => void;
}
