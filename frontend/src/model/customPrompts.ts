// Prompts of one's own: a file that was read, or what was typed once.
import type { AnswerTokens, Corruption, CustomPrompts, Upload } from '../api/wire';

export type PromptFile = Upload & { name: string };

export interface CustomDraft {
  file: PromptFile | null;
  corruption: Corruption;
  answerTokens: AnswerTokens;
  /** Prompts that the model answers wrongly count, too: somebody chose them. */
  keepWrong: boolean;
}

export const EMPTY_CUSTOM: CustomDraft = {
  file: null,
  corruption: 'null_operator',
  answerTokens: 'whole',
  keepWrong: true,
};

/** Prompts that were asked once, as those of a file. */
export const asPromptFile = ({ pairs }: Pick<CustomPrompts, 'pairs'>): PromptFile => ({
  name: 'prompts of an earlier run',
  pairs,
  problems: [],
  notes: [],
  n_rows: pairs.length,
});

export const customDraftOf = (prompts: CustomPrompts): CustomDraft => ({
  file: asPromptFile(prompts),
  corruption: prompts.corruption,
  answerTokens: prompts.answer ?? 'whole',
  keepWrong: prompts.keep_wrong ?? true,
});

/** The prompts of a file, or in words why there are none yet. */
export function customPromptsOf(own: CustomDraft, shots: number, chat: boolean): CustomPrompts | string {
  if (own.file === null) return 'Upload a file of prompts.';
  if (own.file.pairs.length === 0) return 'No row of the file can be used.';
  return {
    source: 'custom',
    pairs: own.file.pairs,
    shots,
    ...(chat ? { chat: true } : {}),
    ...(own.answerTokens === 'whole' ? {} : { answer: own.answerTokens }),
    corruption: own.corruption,
    ...(own.keepWrong ? {} : { keep_wrong: false }),
  };
}
