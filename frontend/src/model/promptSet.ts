// Draft of a prompt set, the valid combinations of its settings, and its part of the spec.
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

export const DEFAULT_SET: SetDraft = {
  topic: 'question',
  operations: ['add'],
  styles: ['equation'],
  wording: 'plain',
  numerals: 'digits',
  decimals: 0,
  answerTokens: 'whole',
  corruption: 'null_operator',
  smallest: '1',
  largest: '9',
  pairs: '64',
  seed: '0',
  keepWrong: false,
  half: null,
};

export const OPERATIONS: readonly Operation[] = ['add', 'subtract', 'multiply', 'divide', 'power'];
export const STYLES: readonly Style[] = ['equation', 'statement', 'question'];

/** What a topic offers, as in prompts/sets/topics.py. No operations: the topic has no arithmetic. */
interface TopicRow {
  name: string;
  example: string;
  operations: readonly Operation[];
  styles?: boolean;
  decimals?: boolean;
  words?: boolean;
  impossible?: readonly Corruption[];
}

const FOUR: readonly Operation[] = ['add', 'subtract', 'multiply', 'divide'];
export const TOPICS: Record<Topic, TopicRow> = {
  question: {
    name: 'calculations',
    example: '3 + 5 =',
    operations: OPERATIONS,
    styles: true,
    decimals: true,
    words: true,
  },
  year_span: {
    name: 'spans of years',
    example: 'The war lasted 5 years from 1723 to 172',
    operations: ['add', 'subtract'],
  },
  counting: {
    name: 'counting',
    example: 'There are 3 dogs and 5 cats. The number of animals is',
    operations: ['add'],
    words: true,
    impossible: ['operator_swap'],
  },
  word_problem: {
    name: 'word problems',
    example: 'A farmer has 3 sheep and buys 5. The farmer now has',
    operations: FOUR,
    words: true,
  },
  facts: { name: 'facts (no arithmetic)', example: 'The capital of France is', operations: [] },
  grammar: {
    name: 'grammar (no arithmetic)',
    example: 'The past tense of go is',
    operations: [],
    impossible: ['operand_swap_same_answer'],
  },
  antonyms: {
    name: 'antonyms (no arithmetic)',
    example: 'The opposite of hot is',
    operations: [],
    impossible: ['operand_swap_same_answer'],
  },
  sequences: {
    name: 'sequences (no arithmetic)',
    example: 'The day that comes after Monday is',
    operations: [],
    impossible: ['operand_swap_same_answer'],
  },
};
export const TOPIC_NAMES = Object.keys(TOPICS) as Topic[];

export const isControl = (topic: Topic): boolean => TOPICS[topic].operations.length === 0;

/** The nearest valid set: settings that the topic lacks return to their defaults. */
export function normalisedSet(set: SetDraft): SetDraft {
  const row = TOPICS[set.topic];
  const operations = set.operations.filter((operation) => row.operations.includes(operation));
  const numerals = row.words ? set.numerals : 'digits';
  return {
    ...set,
    // If no chosen operation remains, the topic's first one is chosen; an empty choice stays empty.
    operations: operations.length > 0 || set.operations.length === 0 ? operations : row.operations.slice(0, 1),
    styles: row.styles ? set.styles : DEFAULT_SET.styles,
    numerals,
    decimals: row.decimals && numerals === 'digits' ? set.decimals : 0,
    corruption: row.impossible?.includes(set.corruption) ? DEFAULT_SET.corruption : set.corruption,
  };
}

export function parseInteger(text: string, least: number, most: number): number | null {
  if (!/^\s*\d{1,10}\s*$/.test(text)) return null;
  const value = Number(text);
  return value >= least && value <= most ? value : null;
}

export const MAX_SEED = 2 ** 31 - 1;

/**
 * The prompts of a set, or the problem that prevents them. Fields added in later versions are left out at their
 * defaults.
 */
export function templatePromptsOf(draft: SetDraft, shots: number, chat: boolean): TemplatePrompts | string {
  const set = normalisedSet(draft);
  const row = TOPICS[set.topic];
  const arithmetic = row.operations.length > 0;
  const smallest = parseInteger(set.smallest, 0, 9_999);
  const largest = parseInteger(set.largest, 0, 9_999);
  const pairs = parseInteger(set.pairs, 1, 10_000);
  const seed = parseInteger(set.seed, 0, MAX_SEED);
  if (arithmetic) {
    if (smallest === null || largest === null) return 'Operands must be whole numbers from 0 to 9999.';
    if (smallest > largest) return 'The smallest operand must not exceed the largest.';
    if (set.operations.length === 0) return 'Choose at least one operation.';
  }
  if (pairs === null) return 'The number of pairs must be a whole number from 1 to 10,000.';
  if (seed === null) return 'The seed must be a whole number, 0 or greater.';
  if (row.styles && set.styles.length === 0) return 'Choose at least one style.';
  return {
    source: 'template',
    ...(set.topic === 'question' ? {} : { topic: set.topic }),
    operations: arithmetic ? [...set.operations] : [...DEFAULT_SET.operations],
    styles: [...set.styles],
    operands: arithmetic ? [smallest ?? 1, largest ?? 9] : [1, 9],
    pairs,
    shots,
    ...(set.wording === 'plain' ? {} : { wording: set.wording }),
    ...(set.numerals === 'digits' ? {} : { numerals: set.numerals }),
    ...(set.decimals === 0 ? {} : { decimals: set.decimals }),
    ...(set.answerTokens === 'whole' ? {} : { answer: set.answerTokens }),
    ...(chat ? { chat: true } : {}),
    corruption: set.corruption,
    seed,
    keep_wrong: set.keepWrong,
    ...(set.half === null ? {} : { half: set.half }),
  };
}

/** The other half. */
export const otherHalf = (half: Half): Half => (half === 'first' ? 'second' : 'first');

/** The draft of an existing set, to be edited and run again. */
export function setDraftOf(prompts: TemplatePrompts): SetDraft {
  return {
    topic: prompts.topic ?? 'question',
    operations: prompts.operations,
    styles: prompts.styles,
    wording: prompts.wording ?? 'plain',
    numerals: prompts.numerals ?? 'digits',
    decimals: prompts.decimals ?? 0,
    answerTokens: prompts.answer ?? 'whole',
    corruption: prompts.corruption,
    smallest: String(prompts.operands[0]),
    largest: String(prompts.operands[1]),
    pairs: String(prompts.pairs),
    seed: String(prompts.seed),
    keepWrong: prompts.keep_wrong ?? false,
    half: prompts.half ?? null,
  };
}
