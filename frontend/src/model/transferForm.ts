// Draft of the transfer form, and its conversion to a spec: prompt sets to find heads on, and to knock them out on.
import type { Ablation, PromptsSpec, Effect, Metric, TransferSpec } from '../api/wire';
import { OPERATION_NAMES } from '../text/titles';
import { clip, lastLine, visible } from '../text/tokens';
import { MAX_CONTROLS, MAX_KNOCKED_OUT, type SpecOrProblem } from './knockoutForm';
import { customPromptsOf, customDraftOf, type CustomDraft } from './customPrompts';
import {
  setDraftOf,
  DEFAULT_SET,
  isControl,
  MAX_SEED,
  TOPICS,
  templatePromptsOf,
  parseInteger,
  type SetDraft,
} from './promptSet';

export const MAX_SETS = 16;

export interface SetChoice {
  /** Identity of the row: two sets may be equal while they are edited. */
  key: number;
  set: SetDraft | CustomDraft;
  found: boolean;
  evaluated: boolean;
  /** Worked examples and chat template of this set alone; null: those shared by all sets. */
  shots: number | null;
  chat: boolean | null;
}

export const isCustom = (set: SetDraft | CustomDraft): set is CustomDraft => 'file' in set;

export interface TransferDraft {
  sets: readonly SetChoice[];
  topK: string;
  effect: Effect;
  metric: Metric;
  ablation: Ablation;
  controls: string;
  disjoint: boolean;
  shots: number;
  chat: boolean;
  seed: string;
}

export interface Preset {
  name: string;
  set: SetDraft;
}

const SMALL: SetDraft = { ...DEFAULT_SET, pairs: '32' };
const preset = (name: string, part: Partial<SetDraft>): Preset => ({ name, set: { ...SMALL, ...part } });

/** The kinds of prompts in the paper, and controls without arithmetic. */
export const PRESETS: readonly Preset[] = [
  preset('addition', {}),
  preset('subtraction', { operations: ['subtract'] }),
  preset('multiplication', { operations: ['multiply'] }),
  preset('division', { operations: ['divide'] }),
  preset('addition, statements', { styles: ['statement'] }),
  preset('addition, questions', { styles: ['question'] }),
  preset('addition in words', { numerals: 'words' }),
  preset('two-digit addition', { smallest: '10', largest: '99', answerTokens: 'first' }),
  preset('spans of years', { topic: 'year_span' }),
  preset('word problems', { topic: 'word_problem' }),
  preset('counting', { topic: 'counting' }),
  preset('facts', { topic: 'facts' }),
  preset('grammar', { topic: 'grammar' }),
  preset('antonyms', { topic: 'antonyms' }),
  preset('sequences', { topic: 'sequences' }),
];

const STARTS = [
  'addition',
  'subtraction',
  'multiplication',
  'addition, statements',
  'addition, questions',
  'addition in words',
  'spans of years',
  'word problems',
  'facts',
  'grammar',
];

const newChoice = (set: SetDraft | CustomDraft, key: number): SetChoice => ({
  key,
  set,
  // A set without arithmetic is a control: heads are knocked out on it, but not found on it.
  found: isCustom(set) || !isControl(set.topic),
  evaluated: true,
  shots: null,
  chat: null,
});

export const initialTransfer = (shots: number): TransferDraft => ({
  sets: STARTS.flatMap((name, key) => {
    const start = PRESETS.find((each) => each.name === name);
    return start ? [newChoice(start.set, key)] : [];
  }),
  topK: '10',
  effect: 'through_mlps',
  metric: 'logit_difference',
  ablation: 'mean',
  controls: '20',
  disjoint: true,
  shots,
  chat: false,
  seed: '0',
});

/** The draft of an existing transfer. The first set's worked examples and chat template become the shared ones. */
export function transferDraftOf(spec: TransferSpec, shots: number): TransferDraft {
  const first = spec.found_on[0];
  const sets: SetChoice[] = [];
  const put = (prompts: PromptsSpec, side: 'found' | 'evaluated') => {
    const chat = prompts.chat ?? false;
    const row = {
      set: prompts.source === 'template' ? setDraftOf(prompts) : customDraftOf(prompts),
      shots: prompts.shots === first?.shots ? null : (prompts.shots ?? null),
      chat: chat === (first?.chat ?? false) ? null : chat,
    };
    const same = sets.findIndex(
      ({ set, shots: own, chat: talks }) => JSON.stringify({ set, shots: own, chat: talks }) === JSON.stringify(row),
    );
    const old = sets[same];
    if (old) sets[same] = { ...old, [side]: true };
    else sets.push({ ...row, key: sets.length, found: side === 'found', evaluated: side === 'evaluated' });
  };
  spec.found_on.forEach((prompts) => put(prompts, 'found'));
  spec.evaluated_on.forEach((prompts) => put(prompts, 'evaluated'));
  return {
    ...initialTransfer(first?.shots ?? shots),
    sets,
    topK: String(spec.top_k ?? 10),
    effect: spec.effect ?? 'through_mlps',
    metric: spec.metric ?? 'logit_difference',
    ablation: spec.ablation ?? 'mean',
    controls: String(spec.controls ?? 20),
    disjoint: spec.disjoint ?? true,
    chat: first?.chat ?? false,
    seed: String(spec.seed ?? 0),
  };
}

export const withSet = (sets: readonly SetChoice[], set: SetDraft | CustomDraft): SetChoice[] => [
  ...sets,
  newChoice(set, 1 + Math.max(-1, ...sets.map(({ key }) => key))),
];

/** Short name of a set: "addition, statements, 10 to 99, in words". Defaults are left out. */
export function setName(set: SetDraft | CustomDraft): string {
  if (isCustom(set)) return customName(set);
  const row = TOPICS[set.topic];
  const plain = set.topic === 'question';
  const parts = [
    plain ? set.operations.map((operation) => OPERATION_NAMES[operation]).join(' and ') || 'no operation' : row.name,
    !plain && row.operations.length > 1
      ? set.operations.map((operation) => OPERATION_NAMES[operation]).join(' and ')
      : null,
    row.styles && set.styles.join() !== 'equation' ? set.styles.map((style) => `${style}s`).join(' and ') : null,
    row.operations.length > 0 && (set.smallest.trim() !== '1' || set.largest.trim() !== '9')
      ? `${set.smallest.trim()} to ${set.largest.trim()}`
      : null,
    set.numerals === 'words' ? 'in words' : null,
    set.decimals > 0 ? `${set.decimals} decimal${set.decimals > 1 ? 's' : ''}` : null,
    set.wording === 'varied' ? 'many wordings' : null,
    set.half ? `${set.half} half` : null,
    set.answerTokens === 'first' ? 'first token' : set.answerTokens === 'each' ? 'each token' : null,
  ];
  return parts.filter((part) => part).join(', ');
}

/** "3 + 5 = and 11 more", or a placeholder before the upload. */
function customName({ file }: CustomDraft): string {
  const [first, ...rest] = file?.pairs ?? [];
  if (!first) return 'prompts from a file';
  const name = clip(visible(lastLine(first.reference) || ' '), 48);
  return rest.length > 0 ? `${name} and ${rest.length} more` : name;
}

export const pairsIn = (set: SetDraft | CustomDraft): string =>
  isCustom(set) ? String(set.file?.pairs.length ?? 0) : set.pairs;

/** `chats`: the model has a chat template. */
export function transferSpecOf(
  draft: TransferDraft,
  model: string,
  parent: string | null,
  chats: boolean,
): SpecOrProblem<TransferSpec> {
  const no = (problem: string) => ({ spec: null, problem });
  const sides: Record<'found' | 'evaluated', PromptsSpec[]> = { found: [], evaluated: [] };
  for (const choice of draft.sets) {
    const [shots, chat] = [choice.shots ?? draft.shots, (choice.chat ?? draft.chat) && chats];
    const prompts = isCustom(choice.set)
      ? customPromptsOf(choice.set, shots, chat)
      : templatePromptsOf(choice.set, shots, chat);
    if (typeof prompts === 'string') return no(`${setName(choice.set)}: ${prompts}`);
    for (const side of ['found', 'evaluated'] as const) {
      if (!choice[side]) continue;
      const duplicate = sides[side].some((each) => JSON.stringify(each) === JSON.stringify(prompts));
      if (duplicate) return no(`${setName(choice.set)} is listed twice: change or remove one of them.`);
      sides[side].push(prompts);
    }
  }
  for (const [side, purpose] of [
    ['found', 'to find heads on'],
    ['evaluated', 'to knock them out on'],
  ] as const) {
    if (sides[side].length === 0) return no(`Choose at least one set ${purpose}.`);
    if (sides[side].length > MAX_SETS) return no(`At most ${MAX_SETS} sets ${purpose}.`);
  }
  const top = parseInteger(draft.topK, 1, MAX_KNOCKED_OUT);
  if (top === null) return no(`Top k must be a whole number from 1 to ${MAX_KNOCKED_OUT}.`);
  const controls = parseInteger(draft.controls, 0, MAX_CONTROLS);
  if (controls === null) return no(`Random controls must be a whole number from 0 to ${MAX_CONTROLS}.`);
  const seed = parseInteger(draft.seed, 0, MAX_SEED);
  if (seed === null) return no('The seed must be a whole number, 0 or greater.');
  return {
    spec: {
      kind: 'transfer',
      model,
      ...(parent === null ? {} : { parent }),
      found_on: sides.found,
      evaluated_on: sides.evaluated,
      top_k: top,
      effect: draft.effect,
      metric: draft.metric,
      ablation: draft.ablation,
      controls,
      disjoint: draft.disjoint,
      seed,
    },
    problem: null,
  };
}
