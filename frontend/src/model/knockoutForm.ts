// Draft of the knock-out form, and its conversion to a spec.
import type { Ablation, PromptsSpec, KnockoutMetric, KnockoutSpec, KnockoutPositions, Metric } from '../api/wire';
import { parseComponent, type Component, componentName } from './component';
import { customPromptsOf, EMPTY_CUSTOM, customDraftOf, type CustomDraft } from './customPrompts';
import {
  setDraftOf,
  DEFAULT_SET,
  MAX_SEED,
  otherHalf,
  templatePromptsOf,
  parseInteger,
  type SetDraft,
} from './promptSet';

export const MAX_KNOCKED_OUT = 128;
export const MAX_CONTROLS = 200;
export const MAX_ANSWER_TOKENS = 16;

export interface KnockoutDraft {
  which: 'top' | 'these';
  topK: string;
  among: 'head' | 'any';
  /** Separated by commas or spaces. */
  components: string;
  ablation: Ablation;
  positions: KnockoutPositions;
  controls: string;
  prompts: 'same' | 'new' | 'own';
  set: SetDraft;
  own: CustomDraft;
  shots: number;
  chat: boolean;
  disjoint: boolean;
  /** Empty: answers of one token. */
  answerTokens: string;
  seed: string;
}

/**
 * `of`: the prompts of the analysis. If they use one half of the operands, the knock-out defaults to the other half.
 */
export const initialKnockout = (pins: readonly Component[], single: boolean, of: PromptsSpec): KnockoutDraft => ({
  which: pins.length > 0 ? 'these' : 'top',
  topK: '10',
  among: 'any',
  components: pins.map(componentName).join(', '),
  // A single prompt has no mean.
  ablation: single ? 'zero' : 'mean',
  positions: 'end',
  controls: '20',
  ...defaultPrompts(of),
  own: EMPTY_CUSTOM,
  shots: of.shots ?? 0,
  answerTokens: '',
  seed: '0',
});

function defaultPrompts(of: PromptsSpec): Pick<KnockoutDraft, 'prompts' | 'set' | 'chat' | 'disjoint'> {
  if (of.source === 'custom' || of.half == null)
    return { prompts: 'same', set: DEFAULT_SET, chat: false, disjoint: false };
  const set = { ...setDraftOf(of), half: otherHalf(of.half) };
  return { prompts: 'new', set, chat: of.chat ?? false, disjoint: true };
}

/** The draft of an existing knock-out, to be edited and run again. */
export function knockoutDraftOf(spec: KnockoutSpec, of: PromptsSpec): KnockoutDraft {
  const { prompts } = spec;
  return {
    which: spec.components ? 'these' : 'top',
    topK: String(spec.top_k ?? 10),
    among: spec.among ?? 'any',
    components: (spec.components ?? []).join(', '),
    ablation: spec.ablation ?? 'mean',
    positions: spec.positions ?? 'end',
    controls: String(spec.controls ?? 20),
    prompts: !prompts ? 'same' : prompts.source === 'template' ? 'new' : 'own',
    set: prompts?.source === 'template' ? setDraftOf(prompts) : defaultPrompts(of).set,
    own: prompts?.source === 'custom' ? customDraftOf(prompts) : EMPTY_CUSTOM,
    shots: prompts?.shots ?? of.shots ?? 0,
    chat: prompts?.chat ?? false,
    disjoint: spec.disjoint ?? false,
    answerTokens: spec.answer_tokens == null ? '' : String(spec.answer_tokens),
    seed: String(spec.seed ?? 0),
  };
}

/** The component names in a text, or a message that says which is not one. */
export function parseComponentList(text: string, most = MAX_KNOCKED_OUT, done = 'knocked out'): string[] | string {
  const names = text.split(/[\s,;]+/).filter((name) => name !== '');
  const invalid = names.find((name) => parseComponent(name) === null);
  if (invalid !== undefined)
    return `“${invalid.slice(0, 24)}” is not a component: write L14H2 for a head, MLP19 for an MLP.`;
  if (names.length === 0) return 'Name at least one component, such as L14H2 or MLP19.';
  if (new Set(names).size < names.length) return 'A component is listed twice.';
  if (names.length > most) return `At most ${most} components can be ${done} at once.`;
  return names;
}

export type SpecOrProblem<T> = { spec: T; problem: null } | { spec: null; problem: string };

/** The spec of a knock-out of `parent`, or the problem that prevents it. `metric` ranks the top components. */
export function knockoutSpecOf(draft: KnockoutDraft, parent: string, metric: Metric): SpecOrProblem<KnockoutSpec> {
  const no = (problem: string) => ({ spec: null, problem });
  const top = parseInteger(draft.topK, 1, MAX_KNOCKED_OUT);
  const names = draft.which === 'these' ? parseComponentList(draft.components) : [];
  if (typeof names === 'string') return no(names);
  if (draft.which === 'top' && top === null) return no(`Top k must be a whole number from 1 to ${MAX_KNOCKED_OUT}.`);
  const controls = parseInteger(draft.controls, 0, MAX_CONTROLS);
  if (controls === null) return no(`Random controls must be a whole number from 0 to ${MAX_CONTROLS}.`);
  const seed = parseInteger(draft.seed, 0, MAX_SEED);
  if (seed === null) return no('The seed must be a whole number, 0 or greater.');
  const tokens = draft.answerTokens.trim() === '' ? null : parseInteger(draft.answerTokens, 1, MAX_ANSWER_TOKENS);
  if (draft.answerTokens.trim() !== '' && tokens === null)
    return no(`Generated answer tokens must be a whole number from 1 to ${MAX_ANSWER_TOKENS}, or empty.`);
  const prompts =
    draft.prompts === 'same'
      ? null
      : draft.prompts === 'new'
        ? templatePromptsOf(draft.set, draft.shots, draft.chat)
        : customPromptsOf(draft.own, draft.shots, draft.chat);
  if (typeof prompts === 'string') return no(prompts);
  return {
    spec: {
      kind: 'knockout',
      parent,
      ...(draft.which === 'these' ? { components: names } : { top_k: top, metric, among: draft.among }),
      ablation: draft.ablation,
      positions: draft.positions,
      controls,
      ...(prompts ? { prompts } : {}),
      disjoint: draft.disjoint,
      ...(tokens === null ? {} : { answer_tokens: tokens }),
      seed,
    },
    problem: null,
  };
}

export const KNOCKOUT_METRICS: readonly KnockoutMetric[] = [
  'accuracy',
  'probability',
  'logit_difference',
  'exact_match',
];
export const KNOCKOUT_METRIC_LABELS: Record<KnockoutMetric, string> = {
  accuracy: 'Accuracy',
  probability: 'Probability of the answer',
  logit_difference: 'Logit difference to the best other number',
  exact_match: 'Exact match of the generated answer',
};
export const ABLATION_LABELS: Record<Ablation, string> = {
  mean: 'mean over these prompts',
  zero: 'zero',
  resample: 'another prompt',
};
export const POSITION_LABELS: Record<KnockoutPositions, string> = {
  end: 'at the last position',
  all: 'at all positions',
  after_first: 'at all positions but the first',
};
