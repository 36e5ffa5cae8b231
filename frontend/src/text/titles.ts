// Titles of experiments of every kind, and of sets of prompts.
import { CHOICES, FIELDS, KINDS } from '../api/vocabulary';
import type { AnySpec, PromptsSpec, Experiment, Spec, Topic } from '../api/wire';
import { kindOf } from '../kinds';
import { clip, lastLine, visible } from './tokens';

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

/** The name of a kind of experiment; an unknown kind by its own identifier. */
export const kindName = (kind: string): string =>
  kind in KINDS ? KINDS[kind as keyof typeof KINDS].label.toLowerCase() : visible(kind.replace(/_/g, ' '));

export const isAnalysis = (spec: AnySpec): spec is Spec => spec.kind === 'path_patching';

/** "3 + 5 =", "3 + 5 = and 11 more", "34 addition prompts", "3 + 5 = (chat)". `kept`: pairs in the result. */
export function title(spec: { prompts: PromptsSpec }, kept?: number): string {
  return spec.prompts.chat ? `${questions(spec.prompts, kept)} (chat)` : questions(spec.prompts, kept);
}

/** Default title of any experiment: "Knock-out of the top 10", "Transfer from 8 sets to 8 sets of prompts". */
export const specTitle = (spec: AnySpec, kept?: number): string =>
  kindOf(spec.kind)?.title(spec, kept) ?? `Experiment of kind “${kindName(spec.kind)}”`;

/** The given name, or the default title. */
export const nameOf = (experiment: Pick<Experiment, 'name' | 'spec'>, kept?: number): string =>
  experiment.name?.trim() || specTitle(experiment.spec, kept);

/** The model of an experiment: its own or that of its analysis, if it is among `others`; else empty. */
export const modelOf = ({ spec }: Pick<Experiment, 'spec'>, others: readonly Experiment[]): string =>
  spec.model ?? others.find(({ id }) => id === spec.parent)?.spec.model ?? '';

const LISTED = 4;

/** "L14H2, L1H1, L2H2 and 5 more". */
export function shortList(components: readonly string[]): string {
  if (components.length <= LISTED) return components.join(', ');
  return `${components.slice(0, LISTED - 1).join(', ')} and ${components.length - LISTED + 1} more`;
}

/** The method in short, for a narrow column: "total, all positions", "knock-out, mean", "transfer". */
export const methodSummary = (spec: AnySpec): string => kindOf(spec.kind)?.method(spec) ?? kindName(spec.kind);

function questions(prompts: PromptsSpec, kept?: number): string {
  if (prompts.source === 'custom') {
    const first = clip(visible(lastLine(prompts.pairs[0]?.reference ?? '') || ' '), 48);
    const more = prompts.pairs.length - 1;
    return more > 0 ? `${first} and ${more} more` : first;
  }
  const count = kept ?? prompts.pairs;
  const about = prompts.topic ?? FIELDS.template.topic.default;
  const kinds =
    about === FIELDS.template.topic.default
      ? prompts.operations.map((operation) => CHOICES.Operation[operation]?.label ?? operation).join(' and ')
      : (TOPIC_ADJECTIVES[about] ?? about);
  const half = prompts.half ? `, ${prompts.half} half` : '';
  return `${count.toLocaleString('en')} ${kinds} ${count === 1 ? 'prompt' : 'prompts'}${half}`;
}
