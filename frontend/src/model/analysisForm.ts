// Draft of the analysis form on the home page, and its conversion to a spec.
import { FIELDS } from '../api/vocabulary';
import type { AnswerTokens, PromptsSpec, AnalysisSpecInput, ModelCard, Spec } from '../api/wire';
import { changed, no, type SpecOrProblem } from './fields';
import { DEFAULT_OPTIONS, needsSet, optionsOf, normalised, type Options } from './patchingOptions';
import { asPromptFile, customPromptsOf, type PromptFile } from './customPrompts';
import { setDraftOf, DEFAULT_SET, templatePromptsOf, type SetDraft } from './promptSet';

export interface Draft extends Options, Omit<SetDraft, 'answerTokens'> {
  model: string | null;
  mode: 'one' | 'set' | 'file';
  prompt: string;
  answer: string;
  counterfactual: string;
  /** null: as many as suit the prompt and the model. */
  shots: number | null;
  /** null: the model's default. */
  answerTokens: AnswerTokens | null;
  /** Through the model's chat template, if it has one. */
  chat: boolean;
  /** The content of an uploaded file of prompts. */
  file: PromptFile | null;
}

export const DEFAULT_DRAFT: Draft = {
  ...DEFAULT_OPTIONS,
  ...DEFAULT_SET,
  model: null,
  mode: 'one',
  prompt: '3 + 5 =',
  answer: '',
  counterfactual: '',
  shots: null,
  answerTokens: null,
  chat: false,
  file: null,
};

/** The initial draft: one prompt, or a set if the requested source draws from a set. */
export const initialDraft = ({ source }: Pick<Options, 'source'>): Draft => ({
  ...DEFAULT_DRAFT,
  mode: needsSet(source) ? 'set' : 'one',
});

/**
 * The draft of an existing analysis, to be edited and run again. Several typed prompts come back as those of a file.
 */
export function analysisDraftOf(spec: Pick<Spec, 'model' | 'effect' | 'prompts'> & Partial<Options>): Draft {
  const { prompts } = spec;
  const answerTokens = prompts.answer ?? null;
  const base = {
    ...DEFAULT_DRAFT,
    ...optionsOf(spec),
    model: spec.model,
    shots: prompts.shots ?? null,
    chat: prompts.chat ?? false,
  };
  if (prompts.source === 'template') return { ...base, ...setDraftOf(prompts), answerTokens, mode: 'set' };
  const { pairs, corruption } = prompts;
  const typed = { ...base, corruption, answerTokens };
  const [first] = pairs;
  if (pairs.length > 1 || !first) return { ...typed, mode: 'file', file: asPromptFile(prompts) };
  return {
    ...typed,
    mode: 'one',
    prompt: first.reference,
    answer: first.answer ?? '',
    counterfactual: first.counterfactual ?? '',
  };
}

/** The treatment of answers of several tokens: as chosen, or the model's default. */
export const answerTokensOf = (draft: Pick<Draft, 'answerTokens'>, model: ModelCard | null): AnswerTokens =>
  draft.answerTokens ?? model?.answer ?? DEFAULT_SET.answerTokens;

/** True if there is only one prompt, so that there is no other to draw from. */
export const isSinglePrompt = (draft: Pick<Draft, 'mode' | 'pairs' | 'file'>): boolean =>
  draft.mode === 'one' || (draft.mode === 'file' ? draft.file?.pairs.length === 1 : Number(draft.pairs) === 1);

/** The default model: the first that is supported, the bundled one only if there is no other. */
export const defaultModel = (models: readonly ModelCard[]): ModelCard | null => {
  const supported = models.filter((model) => model.supported);
  return supported.find(({ source }) => source !== 'bundled') ?? supported[0] ?? null;
};

/** The bundled model that can add, if it can run. */
export const bundledModel = (models: readonly ModelCard[]): ModelCard | null =>
  models.find(({ source, supported }) => source === 'bundled' && supported) ?? null;

/** The example that is offered with the bundled model. */
export const BUNDLED_PROMPT = '12 + 35 =';

export type AnalysisSpecOrProblem = SpecOrProblem<AnalysisSpecInput>;

/** The spec of a draft for a model, or the problem that prevents it. */
export function analysisSpecOf(draft: Draft, model: ModelCard): AnalysisSpecOrProblem {
  const prompts = promptsOf(draft, model);
  if (typeof prompts === 'string') return no(prompts);
  return {
    spec: { kind: 'path_patching', model: model.id, ...normalised(optionsOf(draft), isSinglePrompt(draft)), prompts },
    problem: null,
  };
}

function promptsOf(draft: Draft, model: ModelCard): PromptsSpec | string {
  const { shots } = draft;
  const chat = draft.chat && model.chat === true;
  // What is chosen is sent, even if it is the usual: what is left open is the model's.
  const answer = draft.answerTokens === null ? {} : { answer: draft.answerTokens };
  if (draft.mode === 'one') {
    if (draft.prompt.trim() === '') return 'Type a prompt, such as 3 + 5 =';
    const optional = (name: 'answer' | 'counterfactual') => (draft[name].trim() === '' ? {} : { [name]: draft[name] });
    return {
      source: 'custom',
      pairs: [{ reference: draft.prompt, ...optional('answer'), ...optional('counterfactual') }],
      ...(shots === null ? {} : { shots }),
      corruption: draft.corruption,
      ...changed(FIELDS.custom, { chat }),
      ...answer,
    };
  }
  const whole = { ...draft, answerTokens: answerTokensOf(draft, model) };
  const prompts =
    draft.mode === 'file'
      ? customPromptsOf({ ...whole, keepWrong: true }, shots, chat)
      : templatePromptsOf(whole, shots, chat);
  return typeof prompts === 'string' ? prompts : { ...prompts, ...answer };
}

/** `list` with `item` added or removed, in the order of `all`. */
export const toggled = <T>(list: readonly T[], item: T, all: readonly T[]): T[] =>
  all.filter((each) => (each === item ? !list.includes(item) : list.includes(each)));
