// Short names for the generated types of the API. To change one, change contracts/; then, or to name another schema, run
// `npm run types`.
import type { components } from './types';
import type { CHOICES } from './vocabulary';

type Schemas = components['schemas'];
/** Any generated type by its name, for views and kinds that need one alone. */
export type Schema<Name extends keyof Schemas> = Schemas[Name];

/** Specs are stored as submitted: early versions lack later fields, and new ones may leave them out. */
export type Spec = Omit<Schemas['PathPatchingSpec'], 'prompts'> & { prompts: PromptsSpec };
/** A spec as submitted: the server fills in what is left out. */
export type AnalysisSpecInput = Omit<Spec, 'metrics' | 'prompts'> & { metrics?: Metric[]; prompts: PromptsSpec };
export type CustomPrompts = AtLeast<Omit<Schemas['CustomPrompts'], 'shots'>, 'source' | 'pairs' | 'corruption'> & Shots;
export type TemplatePrompts = AtLeast<
  Omit<Schemas['TemplatePrompts'], 'shots'>,
  'source' | 'operations' | 'styles' | 'operands' | 'pairs' | 'corruption' | 'seed'
> &
  Shots;
/** Worked examples; as many as suit the model if left out. */
interface Shots {
  shots?: number | null;
}
export type PromptsSpec = CustomPrompts | TemplatePrompts;
export type Effect = Spec['effect'];
export type Positions = Spec['positions'];
export type Source = Spec['source'];
export type Direction = Spec['direction'];
export type Metric = Spec['metrics'][number];
export type Operation = TemplatePrompts['operations'][number];
export type Style = TemplatePrompts['styles'][number];
export type Corruption = TemplatePrompts['corruption'];

export type Topic = NonNullable<TemplatePrompts['topic']>;
export type Wording = NonNullable<TemplatePrompts['wording']>;
export type Half = NonNullable<TemplatePrompts['half']>;
export type Numerals = NonNullable<TemplatePrompts['numerals']>;
/** How answers of several tokens are treated. */
export type AnswerTokens = NonNullable<TemplatePrompts['answer']>;

/** Specs as submitted: the server fills in what is left out. */
export type KnockoutSpec = AtLeast<Omit<Schemas['KnockoutSpec'], 'prompts'>, 'kind' | 'parent'> & {
  prompts?: PromptsSpec | null;
};
export type TransferSpec = AtLeast<Omit<Schemas['TransferSpec'], 'found_on' | 'evaluated_on'>, 'kind' | 'model'> & {
  found_on: PromptsSpec[];
  evaluated_on: PromptsSpec[];
};
export type FineTuneSpec = AtLeast<
  Omit<Schemas['FineTuneSpec'], 'prompts' | 'validation' | 'test'>,
  'kind' | 'model'
> & {
  prompts: PromptsSpec;
  validation?: PromptsSpec | null;
  test?: PromptsSpec | null;
};
export type Tuner = Schemas['FineTuneSpec']['tuner'];
export type Schedule = Schemas['FineTuneSpec']['schedule'];
export type HeadPart = NonNullable<Schemas['FineTuneSpec']['tune']>[number];
export type Ablation = Schemas['KnockoutSpec']['ablation'];
export type KnockoutPositions = Schemas['KnockoutSpec']['positions'];
/** The generated types know the names of curves only as text. */
export type KnockoutMetric = keyof typeof CHOICES.KnockMetric;
/** A spec of any kind, which says what else it holds; a newer server may know more kinds than this page. */
export interface AnySpec {
  kind: string;
  model?: string;
  parent?: string | null;
}

export type Experiment = Omit<Schemas['Experiment'], 'spec' | 'kind'> & { kind: string; spec: AnySpec };
export type ExperimentList = Omit<Schemas['ExperimentList'], 'items'> & { items: Experiment[] };
export type ExperimentEdit = Schemas['ExperimentEdit'];
export type Priority = Experiment['priority'];
export type State = Experiment['state'];
export type Progress = Schemas['Progress'];
export type Stage = Progress['stage'];
export type StateChange = Schemas['StateChange'];

export type Token = Schemas['Token'];
export type Role = Token['role'];
export type Preview = Schemas['Preview'];
export type PreviewItem = Schemas['PreviewItem'];

export type Effects = Schemas['Effects'];
export type Grid = Effects['mean'];
export type MetricResult = Schemas['MetricResult'];
export type PairResult = Schemas['PairResult'];
/** Results are served as stored: those of early versions lack later fields. */
export type Result = Omit<Schemas['PathPatchingResult'], 'metrics' | 'attention_pairs' | 'spec'> & {
  spec: Optional<Spec, 'positions' | 'source' | 'direction'>;
  /** The pairs whose attention is stored. */
  attention_pairs?: number[];
  metrics: Partial<Record<Metric, MetricResult>>;
};
/** The data of a `partial` event: running means over the pairs finished so far. */
export type PartialMeans = Omit<Schemas['Partial'], 'metrics'> & {
  metrics: Partial<Record<Metric, Schemas['PartialMetric']>>;
};
export type AttentionPattern = Schemas['AttentionPattern'];

export type ModelCard = Schemas['ModelCard'];
export type Health = Schemas['Health'];
export type SystemReport = Schemas['SystemReport'];
export type WorkerReport = Schemas['WorkerReport'];
/** The prompts of an uploaded file: the usable ones, and what is wrong with the other rows. */
export type Upload = Schemas['Upload'];
export type Problem = Optional<Schemas['ProblemDetails'], 'type'>;

type AtLeast<T, K extends keyof T> = Pick<T, K> & Partial<Omit<T, K>>;
type Optional<T, K extends keyof T> = Omit<T, K> & Partial<Pick<T, K>>;
