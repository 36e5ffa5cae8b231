// Draft of the fine-tuning form, and its conversion to a spec.
import type { PromptsSpec, FineTuneSpec, HeadPart, Metric, ModelCard, Schedule, Tuner } from '../api/wire';
import { CONTROLS, TUNER_NAMES, WHOLE } from '../text/fineTune';
import { componentName } from './component';
import { MAX_SHOTS } from './analysisForm';
import type { EffectTable } from './effects';
import { parseComponentList, type SpecOrProblem } from './knockoutForm';
import { customPromptsOf, EMPTY_CUSTOM, customDraftOf, type CustomDraft } from './customPrompts';
import {
  setDraftOf,
  DEFAULT_SET,
  isControl,
  MAX_SEED,
  templatePromptsOf,
  parseInteger,
  type SetDraft,
} from './promptSet';

export const MAX_TUNED = 10_000;
export const MAX_STEPS = 20_000;
export const MAX_BATCH = 1_024;
/** The fewest questions that can be split in three. */
const FEWEST_OWN = 10;

export type QuestionSource = 'analysis' | 'two_digits' | 'set' | 'file';

export interface FineTuneDraft {
  which: 'top' | 'these';
  topK: string;
  metric: Metric;
  /** Separated by commas or spaces. */
  components: string;
  tuner: Tuner;
  /** Controls submitted with it, each as a separate experiment. */
  controls: readonly Tuner[];
  from: QuestionSource;
  /** Number of questions for `analysis` and `two_digits`; a custom set has its own. */
  pairs: string;
  set: SetDraft;
  own: CustomDraft;
  /** Test questions from a file; null: split off by operands. */
  test: CustomDraft | null;
  /** Empty: as many as the analysis, or the model's default. */
  shots: string;
  chat: boolean;
  steps: string;
  batch: string;
  rate: string;
  schedule: Schedule;
  decay: string;
  warmup: string;
  /** Maximum gradient norm. Empty: gradients are not clipped. */
  clip: string;
  /** Projections trained in each head; null: the default for the model. */
  tune: readonly HeadPart[] | null;
  biases: boolean;
  scale: boolean;
  accumulate: string;
  checkpointing: boolean;
  every: string;
  seed: string;
}

/** The initial draft, for components of an analysis or for components typed in. */
export const initialFineTune = (ofAnalysis: boolean): FineTuneDraft => ({
  which: ofAnalysis ? 'top' : 'these',
  topK: '10',
  metric: 'logit_difference',
  components: '',
  tuner: 'precise',
  controls: CONTROLS,
  from: ofAnalysis ? 'analysis' : 'two_digits',
  pairs: '2000',
  set: TWO_DIGITS,
  own: EMPTY_CUSTOM,
  test: null,
  shots: '',
  chat: false,
  steps: '80',
  batch: '32',
  rate: '5e-4',
  schedule: 'cosine',
  decay: '0',
  warmup: '0.05',
  clip: '1',
  tune: null,
  biases: false,
  scale: false,
  accumulate: '1',
  checkpointing: false,
  every: '10',
  seed: '0',
});

/** Calculations that small models only partly solve. */
export const TWO_DIGITS: SetDraft = {
  ...DEFAULT_SET,
  operations: ['add', 'subtract'],
  smallest: '10',
  largest: '99',
  pairs: '2000',
  keepWrong: true,
};

/** The analysis that the components come from. */
export interface ParentAnalysis {
  id: string;
  model: string;
  prompts: PromptsSpec;
  /** Its components, strongest first; null until its result is loaded. */
  ranked: readonly string[] | null;
}

/** True if the prompts of an analysis are calculations and enough to train on. */
export const isTrainable = (prompts: PromptsSpec): boolean =>
  prompts.source === 'custom' ? prompts.pairs.length >= FEWEST_OWN : !isControl(prompts.topic ?? 'question');

/** The source of the questions; not the analysis if its prompts cannot be trained on. */
export const questionSourceOf = (draft: Pick<FineTuneDraft, 'from'>, origin: ParentAnalysis | null): QuestionSource =>
  draft.from === 'analysis' && !(origin && isTrainable(origin.prompts)) ? 'two_digits' : draft.from;

/** Components that support the answer, strongest first. */
export const supportingComponents = (table: EffectTable): string[] =>
  table.ranking
    .filter(({ mean }) => mean !== null && (table.direction === 'denoising' ? mean > 0 : mean < 0))
    .map(componentName);

export const ALL_PARTS: readonly HeadPart[] = ['q', 'k', 'v', 'o'];

/** Projections trained by default: where heads share keys and values, those stay frozen. */
export const trainedParts = (card: Pick<ModelCard, 'heads' | 'kv_heads'> | null): readonly HeadPart[] =>
  card && card.kv_heads < card.heads ? ['q', 'o'] : ALL_PARTS;

/** Parses a number such as "0.05" or "5e-4"; null for anything else and outside the range. */
export function parseNumber(text: string, least: number, most: number): number | null {
  if (!/^\s*\d{0,9}(\d|\.\d{1,12}|\d\.)(e[+-]?\d{1,2})?\s*$/i.test(text)) return null;
  const value = Number(text);
  return value >= least && value <= most ? value : null;
}

interface SpecContext {
  model: Pick<ModelCard, 'id' | 'chat' | 'shots'>;
  origin: ParentAnalysis | null;
}

/** The spec of a fine-tuning, or the problem that prevents it. */
export function fineTuneSpecOf(draft: FineTuneDraft, { model, origin }: SpecContext): SpecOrProblem<FineTuneSpec> {
  const no = (problem: string) => ({ spec: null, problem });
  const components = componentsOf(draft, origin);
  if (typeof components === 'string') return no(components);
  const prompts = promptsOf(draft, model, origin);
  if (typeof prompts === 'string') return no(prompts);
  const test = draft.test && customPromptsOf(draft.test, prompts.shots ?? 0, prompts.chat ?? false);
  if (typeof test === 'string') return no(`Test questions: ${test}`);
  const steps = parseInteger(draft.steps, 1, MAX_STEPS);
  if (steps === null) return no(`Steps must be a whole number from 1 to ${MAX_STEPS.toLocaleString('en')}.`);
  const batch = parseInteger(draft.batch, 1, MAX_BATCH);
  if (batch === null) return no(`Batch size must be a whole number from 1 to ${MAX_BATCH.toLocaleString('en')}.`);
  const rate = parseNumber(draft.rate, Number.MIN_VALUE, 1);
  if (rate === null) return no('The learning rate must be greater than 0 and at most 1, such as 5e-4.');
  const decay = parseNumber(draft.decay, 0, 100);
  if (decay === null) return no('The weight decay must be a number from 0 to 100.');
  const warmup = parseNumber(draft.warmup, 0, 1);
  if (warmup === null) return no('The warm-up must be a fraction of the steps, from 0 to 1.');
  const clip = draft.clip.trim() === '' ? null : parseNumber(draft.clip, Number.MIN_VALUE, 1e6);
  if (draft.clip.trim() !== '' && clip === null)
    return no('Gradient clipping must be a norm greater than 0, or empty for none.');
  if (draft.tune?.length === 0) return no('Choose at least one projection to train in each head.');
  const accumulate = parseInteger(draft.accumulate, 1, MAX_BATCH);
  if (accumulate === null)
    return no(`Gradient accumulation steps must be a whole number from 1 to ${MAX_BATCH.toLocaleString('en')}.`);
  const every = parseInteger(draft.every, 1, MAX_STEPS);
  if (every === null) return no('Steps between validations must be a whole number, 1 or greater.');
  const seed = parseInteger(draft.seed, 0, MAX_SEED);
  if (seed === null) return no('The seed must be a whole number, 0 or greater.');
  return {
    spec: {
      kind: 'fine_tune',
      model: model.id,
      ...(origin && origin.model === model.id ? { parent: origin.id } : {}),
      tuner: draft.tuner,
      components,
      prompts,
      ...(test ? { test } : {}),
      steps,
      batch_size: batch,
      learning_rate: rate,
      weight_decay: decay,
      schedule: draft.schedule,
      warmup,
      clip,
      ...(draft.tune ? { tune: ALL_PARTS.filter((part) => draft.tune?.includes(part)) } : {}),
      biases: draft.biases,
      head_scale: draft.scale,
      accumulate,
      checkpointing: draft.checkpointing,
      validate_every: every,
      seed,
    },
    problem: null,
  };
}

/** The same spec with each of the other tuners, as controls. */
export const controlsOf = (spec: FineTuneSpec, tuners: readonly Tuner[]): FineTuneSpec[] =>
  tuners.filter((tuner) => tuner !== (spec.tuner ?? 'precise')).map((tuner) => ({ ...spec, tuner }));

function componentsOf(draft: FineTuneDraft, origin: ParentAnalysis | null): string[] | string {
  if (draft.which === 'top') {
    const top = parseInteger(draft.topK, 1, MAX_TUNED);
    if (top === null) return `Top k must be a whole number from 1 to ${MAX_TUNED.toLocaleString('en')}.`;
    if (!origin) return 'There is no analysis to take the top components from: name components instead.';
    if (!origin.ranked) return 'Loading the analysis…';
    if (origin.ranked.length === 0) return 'No component of the analysis supports the answer: name components instead.';
    return origin.ranked.slice(0, top);
  }
  if (draft.components.trim() === '') {
    const needy = [draft.tuner, ...draft.controls].find((tuner) => !WHOLE.includes(tuner));
    if (needy === undefined) return [];
    if (WHOLE.includes(draft.tuner))
      return `Name components, or remove the control “${TUNER_NAMES[needy]}”: its size is matched to theirs.`;
  }
  return parseComponentList(draft.components, MAX_TUNED, 'tuned');
}

function promptsOf(
  draft: FineTuneDraft,
  model: SpecContext['model'],
  origin: ParentAnalysis | null,
): PromptsSpec | string {
  const from = questionSourceOf(draft, origin);
  const typed = draft.shots.trim();
  const usual = (from === 'analysis' ? origin?.prompts.shots : null) ?? model.shots;
  const shots = typed === '' ? usual : parseInteger(typed, 0, MAX_SHOTS);
  if (shots === null) return `Worked examples must be a whole number from 0 to ${MAX_SHOTS}.`;
  const chat = draft.chat && model.chat === true;
  if (from === 'file') return customPromptsOf(draft.own, shots, chat);
  if (from === 'set') return templatePromptsOf(draft.set, shots, chat);
  const parentPrompts = from === 'analysis' ? origin?.prompts : undefined;
  if (parentPrompts?.source === 'custom') return { ...parentPrompts, shots };
  const set = parentPrompts ? setDraftOf(parentPrompts) : TWO_DIGITS;
  // All operands, and wrongly answered questions, too: those remain to be learned.
  const more = { ...set, pairs: draft.pairs, half: null, keepWrong: true, answerTokens: 'whole' as const };
  return templatePromptsOf(more, shots, chat || (parentPrompts?.chat === true && model.chat === true));
}

/** The draft of an existing fine-tuning, to be edited and run again. */
export function fineTuneDraftOf(spec: FineTuneSpec): FineTuneDraft {
  const first = initialFineTune(false);
  const { prompts } = spec;
  return {
    ...first,
    components: (spec.components ?? []).join(','),
    tuner: spec.tuner ?? first.tuner,
    controls: [],
    from: prompts.source === 'template' ? 'set' : 'file',
    set: prompts.source === 'template' ? setDraftOf(prompts) : first.set,
    own: prompts.source === 'custom' ? customDraftOf(prompts) : first.own,
    test: spec.test?.source === 'custom' ? customDraftOf(spec.test) : null,
    shots: String(prompts.shots),
    chat: prompts.chat ?? false,
    steps: String(spec.steps ?? first.steps),
    batch: String(spec.batch_size ?? first.batch),
    rate: formatRate(spec.learning_rate ?? Number(first.rate)),
    schedule: spec.schedule ?? first.schedule,
    decay: String(spec.weight_decay ?? first.decay),
    warmup: String(spec.warmup ?? first.warmup),
    clip: spec.clip === undefined ? first.clip : spec.clip === null ? '' : String(spec.clip),
    tune: spec.tune ?? null,
    biases: spec.biases ?? false,
    scale: spec.head_scale ?? false,
    accumulate: String(spec.accumulate ?? first.accumulate),
    checkpointing: spec.checkpointing ?? false,
    every: String(spec.validate_every ?? first.every),
    seed: String(spec.seed ?? first.seed),
  };
}

/** Formats 0.0005 as 5e-4. */
export const formatRate = (rate: number): string => (rate < 0.01 ? rate.toExponential() : String(rate));
