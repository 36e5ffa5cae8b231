// Draft of a prompt set, the valid combinations of its settings, and its part of the spec.
import { CHOICES, CONTROL_TOPICS, EXCLUSIONS, FIELDS, LIMITS, TOPIC_OPERATIONS } from '../api/vocabulary';
import type {
  AnswerTokens,
  Corruption,
  Half,
  Numerals,
  Operation,
  Style,
  TemplatePrompts,
  Topic,
  Wording,
} from '../api/wire';
import { changed, fieldsOfSpec, formatted, nearest, readNumbers, valuesOf, whyNot, type Exclusion } from './fields';

export interface SetDraft {
  topic: Topic;
  operations: readonly Operation[];
  styles: readonly Style[];
  wording: Wording;
  numerals: Numerals;
  decimals: number;
  answerTokens: AnswerTokens;
  corruption: Corruption;
  smallest: string;
  largest: string;
  pairs: string;
  seed: string;
  keepWrong: boolean;
  /** Which half of the operands; null: all. */
  half: Half | null;
}

const TERMS = FIELDS.template;
const ROWS: readonly Exclusion[] = EXCLUSIONS.template;

export const DEFAULT_SET: SetDraft = {
  ...fieldsOfSpec(
    TERMS,
    {} as Partial<TemplatePrompts>,
    ['pairs', 'seed'],
    ['topic', 'operations', 'styles', 'wording', 'numerals', 'decimals', 'corruption', 'half'],
  ),
  answerTokens: TERMS.answer.default,
  smallest: formatted(TERMS.operands.default[0]),
  largest: formatted(TERMS.operands.default[1]),
  keepWrong: TERMS.keep_wrong.default,
};

export const OPERATIONS: readonly Operation[] = valuesOf(CHOICES.Operation);
/** The numbers of decimals, as text. */
export const DECIMALS: readonly string[] = Array.from({ length: TERMS.decimals.max + 1 }, (_, i) => String(i));
export const STYLES: readonly Style[] = valuesOf(CHOICES.Style);
export const TOPICS: readonly Topic[] = valuesOf(CHOICES.Topic);

/** True for a topic without arithmetic. */
export const isControl = (topic: Topic): boolean => (CONTROL_TOPICS as readonly Topic[]).includes(topic);

/** A topic by its label; a control says so. */
export const topicName = (topic: Topic): string =>
  `${CHOICES.Topic[topic].label}${isControl(topic) ? ' (no arithmetic)' : ''}`;

export const operationsOf = (topic: Topic): readonly Operation[] => TOPIC_OPERATIONS[topic];

type TopicOption = 'styles' | 'numerals' | 'decimals' | 'corruption';

/** Why the topic lacks this value of an option; null if it has it. */
export const lacks = (topic: Topic, option: TopicOption, value: unknown): string | null =>
  whyNot(ROWS, TERMS, { topic }, option, value);

export const hasValue = (topic: Topic, option: TopicOption, value: unknown): boolean =>
  lacks(topic, option, value) === null;

/** True if the topic has more than one style. */
export const hasStyles = (topic: Topic): boolean =>
  STYLES.filter((style) => hasValue(topic, 'styles', style)).length > 1;

/** The nearest valid set: settings that the topic lacks return to their defaults. */
export function normalisedSet(set: SetDraft): SetDraft {
  const { topic, operations, styles, numerals, decimals, corruption } = set;
  return { ...set, ...nearest(ROWS, TERMS, { topic, operations, styles, numerals, decimals, corruption }) };
}

/** The prompts of a set, or the problem that prevents them. `shots` null: as many worked examples as suit the model. */
export function templatePromptsOf(draft: SetDraft, shots: number | null, chat: boolean): TemplatePrompts | string {
  const set = normalisedSet(draft);
  const arithmetic = !isControl(set.topic);
  const operand = { label: 'Operands', help: '', integer: true, min: 0, max: LIMITS.operand };
  const operands = readNumbers({ smallest: operand, largest: operand }, set, ['smallest', 'largest']);
  if (arithmetic) {
    if (typeof operands === 'string') return `Operands must be whole numbers from 0 to ${LIMITS.operand}.`;
    if (operands.smallest > operands.largest) return 'The smallest operand must not exceed the largest.';
    if (set.operations.length === 0) return 'Choose at least one operation.';
  }
  const read = readNumbers(TERMS, set, ['pairs', 'seed']);
  if (typeof read === 'string') return read;
  const styles = hasStyles(set.topic) ? set.styles : DEFAULT_SET.styles;
  if (styles.length === 0) return 'Choose at least one style.';
  const { topic, wording, numerals, decimals, answerTokens, half } = set;
  return {
    source: 'template',
    operations: arithmetic ? [...set.operations] : [...DEFAULT_SET.operations],
    styles: [...styles],
    operands:
      typeof operands === 'string' || !arithmetic ? [...TERMS.operands.default] : [operands.smallest, operands.largest],
    ...read,
    ...(shots === null ? {} : { shots }),
    corruption: set.corruption,
    keep_wrong: set.keepWrong,
    // Fields added in later versions are left out at their defaults.
    ...changed(TERMS, { topic, wording, numerals, decimals, answer: answerTokens, chat, half }),
  };
}

/** The other half. */
export const otherHalf = (half: Half): Half => (half === 'first' ? 'second' : 'first');

/** A set of prompts; options at their defaults may be left out. */
type SomeSet = Partial<Omit<TemplatePrompts, 'operations' | 'styles' | 'operands'>> & {
  readonly operations?: readonly Operation[];
  readonly styles?: readonly Style[];
  readonly operands?: readonly [number, number];
};

/** The draft of an existing set, to be edited and run again. */
export function setDraftOf(set: SomeSet): SetDraft {
  const { operations, styles, operands = TERMS.operands.default, answer, keep_wrong } = set;
  return {
    ...fieldsOfSpec(TERMS, set, ['pairs', 'seed'], ['topic', 'wording', 'numerals', 'decimals', 'corruption', 'half']),
    operations: operations ?? DEFAULT_SET.operations,
    styles: styles ?? DEFAULT_SET.styles,
    answerTokens: answer ?? DEFAULT_SET.answerTokens,
    smallest: formatted(operands[0]),
    largest: formatted(operands[1]),
    keepWrong: keep_wrong ?? DEFAULT_SET.keepWrong,
  };
}
