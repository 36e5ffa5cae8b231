import type { FineTuneDraft } from '../../model/fineTuneForm';

/** Props of every part of the fine-tuning form. */
export interface FineTuneFormProps {
  draft: FineTuneDraft;
  change: (part: Partial<FineTuneDraft>) => void;
}
