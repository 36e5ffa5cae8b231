// Custom prompts: from an uploaded file, or typed in an earlier run.
import type { AnswerTokens, Corruption, CustomPrompts, Upload } from '../api/wire';

export type PromptFile = Upload & { name: string };

export interface CustomDraft {
  file: PromptFile | null;
  corruption: Corruption;
  answerTokens: AnswerTokens;
  /** Keep prompts that the model answers wrongly: they were chosen on purpose. */
  keepWrong: boolean;
}

export const EMPTY_CUSTOM: CustomDraft = {
  file: null,
  corruption: 'null_operator',
  answerTokens: 'whole',
  keepWrong: true,
};

/** Prompts of an earlier run, in the form of a file. */
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

/** The prompts of a file, or the problem that prevents them. */
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
