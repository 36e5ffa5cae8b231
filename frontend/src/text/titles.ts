// Titles of experiments of every kind, and of sets of prompts.
import type {
  AnySpec,
  PromptsSpec,
  Experiment,
  FineTuneSpec,
  KnockoutSpec,
  Operation,
  Spec,
  Topic,
  TransferSpec,
  Tuner,
} from '../api/wire';
import { optionsOf, shortSummary } from '../model/patchingOptions';
import { plural } from './numbers';
import { TUNER_NAMES } from './fineTune';
import { clip, lastLine, visible } from './tokens';

export const OPERATION_NAMES: Record<Operation, string> = {
  add: 'addition',
  subtract: 'subtraction',
  multiply: 'multiplication',
  divide: 'division',
  power: 'powers',
};

/** Adjective for the topic of a set; plain calculations are named by their operations. */
export const TOPIC_ADJECTIVES: Record<Exclude<Topic, 'question'>, string> = {
  year_span: 'year span',
  counting: 'counting',
  word_problem: 'word problem',
  facts: 'fact',
  grammar: 'grammar',
  antonyms: 'antonym',
  sequences: 'sequence',
};

const KINDS: Record<string, string> = {
  path_patching: 'analysis',
  knockout: 'knock-out',
  transfer: 'transfer',
  fine_tune: 'fine-tuning',
};

/** The name of a kind of experiment; an unknown kind by its own identifier. */
export const kindName = (kind: string): string => KINDS[kind] ?? visible(kind.replace(/_/g, ' '));

export const isAnalysis = (spec: AnySpec): spec is Spec => spec.kind === 'path_patching';
const isKnockout = (spec: AnySpec): spec is KnockoutSpec => spec.kind === 'knockout';
const isTransfer = (spec: AnySpec): spec is TransferSpec => spec.kind === 'transfer';
export const isFineTune = (spec: AnySpec): spec is FineTuneSpec => spec.kind === 'fine_tune';

/** "3 + 5 =", "3 + 5 = and 11 more", "34 addition prompts", "3 + 5 = (chat)". `kept`: pairs in the result. */
export function title(spec: { prompts: PromptsSpec }, kept?: number): string {
  return spec.prompts.chat ? `${questions(spec.prompts, kept)} (chat)` : questions(spec.prompts, kept);
}

/** Default title of any experiment: "Knock-out of the top 10", "Transfer from 8 sets to 8 sets of prompts". */
export function specTitle(spec: AnySpec, kept?: number): string {
  if (isAnalysis(spec)) return title(spec, kept);
  if (isKnockout(spec)) return `Knock-out of ${componentsSummary(spec)}`;
  if (isTransfer(spec)) {
    const [from, to] = [spec.found_on.length, spec.evaluated_on.length];
    return `Transfer from ${plural(from, 'set')} to ${plural(to, 'set')} of prompts`;
  }
  if (isFineTune(spec)) return fineTuneTitle(spec);
  const { kind } = spec as { kind: string };
  return `Experiment of kind “${kindName(kind)}”`;
}

/** The given name, or the default title. */
export const nameOf = (experiment: Pick<Experiment, 'name' | 'spec'>, kept?: number): string =>
  experiment.name?.trim() || specTitle(experiment.spec, kept);

/** The model of an experiment. A knock-out has that of its analysis, if it is among `known`; else empty. */
export function modelOf({ spec }: Pick<Experiment, 'spec'>, others: readonly Experiment[]): string {
  if (!isKnockout(spec)) return (spec as { model?: string }).model ?? '';
  const parent = others.find(({ id }) => id === spec.parent)?.spec;
  return parent && isAnalysis(parent) ? parent.model : '';
}

const LISTED = 4;

/** "the top 10", "the top 10 heads", "L14H2, MLP19", "L14H2, L1H1, L2H2 and 5 more". */
export function componentsSummary({ components, top_k, among }: KnockoutSpec): string {
  return components ? shortList(components) : `the top ${top_k ?? DEFAULT_TOP_K}${among === 'head' ? ' heads' : ''}`;
}

/** "L14H2, L1H1, L2H2 and 5 more". */
export function shortList(components: readonly string[]): string {
  if (components.length <= LISTED) return components.join(', ');
  return `${components.slice(0, LISTED - 1).join(', ')} and ${components.length - LISTED + 1} more`;
}

/** "Fine-tuning of L14H2, MLP19", "Fine-tuning of 10 random components", "Fine-tuning with LoRA". */
function fineTuneTitle({ tuner, components = [] }: FineTuneSpec): string {
  const labels: Record<Tuner, string> = {
    precise: `of ${shortList(components)}`,
    random: `of ${plural(components.length, 'random component')}`,
    offsets: `of output offsets at ${shortList(components)}`,
    lora: 'with LoRA',
    full_matrices: 'of all matrices',
    full: 'of the whole model',
  };
  return `Fine-tuning ${labels[tuner ?? 'precise'] ?? tuner}`;
}

export const DEFAULT_TOP_K = 10;

/** The method in short, for a narrow column: "total, all positions", "knock-out, mean", "transfer". */
export function methodSummary(spec: AnySpec): string {
  if (isAnalysis(spec)) return shortSummary(optionsOf(spec));
  if (isKnockout(spec)) return `${kindName('knockout')}, ${spec.ablation ?? 'mean'}`;
  if (isFineTune(spec)) return `${kindName('fine_tune')}, ${TUNER_NAMES[spec.tuner ?? 'precise'] ?? spec.tuner}`;
  return kindName(spec.kind);
}

function questions(prompts: PromptsSpec, kept?: number): string {
  if (prompts.source === 'custom') {
    const first = clip(visible(lastLine(prompts.pairs[0]?.reference ?? '') || ' '), 48);
    const more = prompts.pairs.length - 1;
    return more > 0 ? `${first} and ${more} more` : first;
  }
  const count = kept ?? prompts.pairs;
  const about = prompts.topic ?? 'question';
  const kinds =
    about === 'question'
      ? prompts.operations.map((operation) => OPERATION_NAMES[operation] ?? operation).join(' and ')
      : (TOPIC_ADJECTIVES[about] ?? about);
  const half = prompts.half ? `, ${prompts.half} half` : '';
  return `${count.toLocaleString('en')} ${kinds} ${count === 1 ? 'prompt' : 'prompts'}${half}`;
}
