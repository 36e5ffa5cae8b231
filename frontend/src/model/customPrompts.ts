// Custom prompts: from an uploaded file, or typed in an earlier run.
import { FIELDS } from '../api/vocabulary';
import type { AnswerTokens, Corruption, CustomPrompts, Upload } from '../api/wire';
import { changed } from './fields';

export type PromptFile = Upload & { name: string };

export interface CustomDraft {
  file: PromptFile | null;
  corruption: Corruption;
  answerTokens: AnswerTokens;
  /** Keep prompts that the model answers wrongly: they were chosen on purpose. */
  keepWrong: boolean;
}

const TERMS = FIELDS.custom;

export const EMPTY_CUSTOM: CustomDraft = {
  file: null,
  corruption: TERMS.corruption.default,
  answerTokens: TERMS.answer.default,
  keepWrong: TERMS.keep_wrong.default,
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
  answerTokens: prompts.answer ?? EMPTY_CUSTOM.answerTokens,
  keepWrong: prompts.keep_wrong ?? EMPTY_CUSTOM.keepWrong,
});

/**
 * The prompts of a file, or the problem that prevents them. `shots` null: as many worked examples as suit the model.
 */
export function customPromptsOf(own: CustomDraft, shots: number | null, chat: boolean): CustomPrompts | string {
  if (own.file === null) return 'Upload a file of prompts.';
  if (own.file.pairs.length === 0) return 'No row of the file can be used.';
  return {
    source: 'custom',
    pairs: own.file.pairs,
    ...(shots === null ? {} : { shots }),
    corruption: own.corruption,
    ...changed(TERMS, { chat, answer: own.answerTokens, keep_wrong: own.keepWrong }),
  };
}
