// Draft of the fine-tuning form, and its conversion to a spec. Its fields are named as in the spec.
import { CHOICES, DEFAULT_METRIC, DEFAULT_TOP_K, FIELDS, WHOLE_TUNERS } from '../api/vocabulary';
import type { PromptsSpec, FineTuneSpec, HeadPart, Metric, ModelCard, Schedule, Tuner } from '../api/wire';
import { CONTROLS } from '../text/fineTune';
import { componentName } from './component';
import type { EffectTable } from './effects';
import { fieldsOfSpec, formatted, no, readNumber, readNumbers, valuesOf, type SpecOrProblem } from './fields';
import { parseComponentList } from './knockoutForm';
import { customPromptsOf, EMPTY_CUSTOM, customDraftOf, type CustomDraft } from './customPrompts';
import { setDraftOf, DEFAULT_SET, isControl, templatePromptsOf, type SetDraft } from './promptSet';

const TERMS = FIELDS.fine_tune;
/** How many components of an analysis are trained. */
export const TOP_K = { ...FIELDS.knockout.top_k, max: TERMS.components.maxLength };
/** The fewest questions that can be split in three. */
const FEWEST_OWN = 10;

/** The settings that are numbers, as their fields show them; `clip` may be empty. */
const NUMBERS = [
  'steps',
  'batch_size',
  'learning_rate',
  'weight_decay',
  'warmup',
  'accumulate',
  'validate_every',
  'seed',
] as const;
type NumberName = (typeof NUMBERS)[number] | 'clip';

export type QuestionSource = 'analysis' | 'two_digits' | 'set' | 'file';

export interface FineTuneDraft extends Record<NumberName, string> {
  which: 'top' | 'these';
  top_k: string;
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
  schedule: Schedule;
  /** Projections trained in each head; null: the default for the model. */
  tune: readonly HeadPart[] | null;
  biases: boolean;
  head_scale: boolean;
  checkpointing: boolean;
}

/** The initial draft, for components of an analysis or for components typed in. */
export const initialFineTune = (ofAnalysis: boolean): FineTuneDraft => ({
  which: ofAnalysis ? 'top' : 'these',
  top_k: formatted(DEFAULT_TOP_K),
  metric: DEFAULT_METRIC,
  components: '',
  controls: CONTROLS,
  from: ofAnalysis ? 'analysis' : 'two_digits',
  pairs: TWO_DIGITS.pairs,
  set: TWO_DIGITS,
  own: EMPTY_CUSTOM,
  test: null,
  shots: '',
  chat: false,
  ...settingsOf({}),
});

/** The fields that the draft and the spec share. */
const settingsOf = (spec: Partial<FineTuneSpec>) =>
  fieldsOfSpec(
    TERMS,
    spec,
    [...NUMBERS, 'clip'],
    ['tuner', 'schedule', 'tune', 'biases', 'head_scale', 'checkpointing'],
  );

/** The questions of a fine-tuning that names none: calculations that small models only partly solve. */
export const TWO_DIGITS: SetDraft = setDraftOf(TERMS.prompts.default);

const WHOLE: readonly Tuner[] = WHOLE_TUNERS;

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
  prompts.source === 'custom' ? prompts.pairs.length >= FEWEST_OWN : !isControl(prompts.topic ?? DEFAULT_SET.topic);

/** The source of the questions; not the analysis if its prompts cannot be trained on. */
export const questionSourceOf = (draft: Pick<FineTuneDraft, 'from'>, origin: ParentAnalysis | null): QuestionSource =>
  draft.from === 'analysis' && !(origin && isTrainable(origin.prompts)) ? 'two_digits' : draft.from;

/** Components that support the answer, strongest first. */
export const supportingComponents = (table: EffectTable): string[] =>
  table.ranking
    .filter(({ mean }) => mean !== null && (table.direction === 'denoising' ? mean > 0 : mean < 0))
    .map(componentName);

export const ALL_PARTS: readonly HeadPart[] = valuesOf(CHOICES.HeadPart);

/** Projections trained by default: where heads share keys and values, those stay frozen. */
export const trainedParts = (card: Pick<ModelCard, 'heads' | 'kv_heads'> | null): readonly HeadPart[] =>
  card && card.kv_heads < card.heads ? ['q', 'o'] : ALL_PARTS;

interface SpecContext {
  model: Pick<ModelCard, 'id' | 'chat'>;
  origin: ParentAnalysis | null;
}

/** The spec of a fine-tuning, or the problem that prevents it. */
export function fineTuneSpecOf(draft: FineTuneDraft, { model, origin }: SpecContext): SpecOrProblem<FineTuneSpec> {
  const components = componentsOf(draft, origin);
  if (typeof components === 'string') return no(components);
  const prompts = promptsOf(draft, model, origin);
  if (typeof prompts === 'string') return no(prompts);
  const test = draft.test && customPromptsOf(draft.test, prompts.shots ?? null, prompts.chat ?? false);
  if (typeof test === 'string') return no(`Test questions: ${test}`);
  const numbers = readNumbers(TERMS, draft, NUMBERS, ['clip']);
  if (typeof numbers === 'string') return no(numbers);
  if (draft.tune?.length === 0) return no('Choose at least one projection to train in each head.');
  const { tuner, schedule, biases, head_scale, checkpointing } = draft;
  return {
    spec: {
      kind: 'fine_tune',
      model: model.id,
      ...(origin && origin.model === model.id ? { parent: origin.id } : {}),
      tuner,
      components,
      prompts,
      ...(test ? { test } : {}),
      ...numbers,
      schedule,
      ...(draft.tune ? { tune: ALL_PARTS.filter((part) => draft.tune?.includes(part)) } : {}),
      biases,
      head_scale,
      checkpointing,
    },
    problem: null,
  };
}

/** The same spec with each of the other tuners, as controls. */
export const controlsOf = (spec: FineTuneSpec, tuners: readonly Tuner[]): FineTuneSpec[] =>
  tuners.filter((tuner) => tuner !== (spec.tuner ?? TERMS.tuner.default)).map((tuner) => ({ ...spec, tuner }));

function componentsOf(draft: FineTuneDraft, origin: ParentAnalysis | null): string[] | string {
  if (draft.which === 'top') {
    const top = readNumber(TOP_K, draft.top_k);
    if (typeof top === 'string') return top;
    if (!origin) return 'There is no analysis to take the top components from: name components instead.';
    if (!origin.ranked) return 'Loading the analysis…';
    if (origin.ranked.length === 0) return 'No component of the analysis supports the answer: name components instead.';
    return origin.ranked.slice(0, top ?? DEFAULT_TOP_K);
  }
  if (draft.components.trim() === '') {
    const needy = [draft.tuner, ...draft.controls].find((tuner) => !WHOLE.includes(tuner));
    if (needy === undefined) return [];
    if (WHOLE.includes(draft.tuner))
      return `Name components, or remove the control “${CHOICES.Tuner[needy].label}”: its size is matched to theirs.`;
  }
  return parseComponentList(draft.components, TERMS.components.maxLength, 'tuned');
}

function promptsOf(
  draft: FineTuneDraft,
  model: SpecContext['model'],
  origin: ParentAnalysis | null,
): PromptsSpec | string {
  const from = questionSourceOf(draft, origin);
  const typed = readNumber(FIELDS.template.shots, draft.shots, true);
  if (typeof typed === 'string') return typed;
  const shots = typed ?? (from === 'analysis' ? (origin?.prompts.shots ?? null) : null);
  const chat = draft.chat && model.chat === true;
  if (from === 'file') return customPromptsOf(draft.own, shots, chat);
  if (from === 'set') return templatePromptsOf(draft.set, shots, chat);
  const parentPrompts = from === 'analysis' ? origin?.prompts : undefined;
  if (parentPrompts?.source === 'custom') return { ...parentPrompts, ...(shots === null ? {} : { shots }) };
  const set = parentPrompts ? setDraftOf(parentPrompts) : TWO_DIGITS;
  // All operands, and wrongly answered questions, too: those remain to be learned.
  const more = { ...set, pairs: draft.pairs, half: null, keepWrong: true, answerTokens: DEFAULT_SET.answerTokens };
  return templatePromptsOf(more, shots, chat || (parentPrompts?.chat === true && model.chat === true));
}

/** The draft of an existing fine-tuning, to be edited and run again. */
export function fineTuneDraftOf(spec: FineTuneSpec): FineTuneDraft {
  const first = initialFineTune(false);
  const { prompts } = spec;
  return {
    ...first,
    components: (spec.components ?? []).join(','),
    controls: [],
    from: prompts.source === 'template' ? 'set' : 'file',
    set: prompts.source === 'template' ? setDraftOf(prompts) : first.set,
    own: prompts.source === 'custom' ? customDraftOf(prompts) : first.own,
    test: spec.test?.source === 'custom' ? customDraftOf(spec.test) : null,
    shots: formatted(prompts.shots ?? null),
    chat: prompts.chat ?? false,
    ...settingsOf(spec),
  };
}
