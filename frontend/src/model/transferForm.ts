// Draft of the transfer form, and its conversion to a spec: prompt sets to find heads on, and to knock them out on.
// Its fields are named as in the spec.
import { CHOICES, EVALUATED_ON, FIELDS, FOUND_ON, NAMED_SETS } from '../api/vocabulary';
import type { Ablation, PromptsSpec, Effect, Metric, TransferSpec } from '../api/wire';
import { clip, lastLine, visible } from '../text/tokens';
import { customPromptsOf, customDraftOf, type CustomDraft } from './customPrompts';
import { fieldsOfSpec, no, readNumbers, type SpecOrProblem } from './fields';
import {
  setDraftOf,
  DEFAULT_SET,
  hasStyles,
  isControl,
  operationsOf,
  templatePromptsOf,
  topicName,
  type SetDraft,
} from './promptSet';

const TERMS = FIELDS.transfer;
/** The most sets on each side. */
export const MAX_SETS = TERMS.found_on.maxLength;

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
  top_k: string;
  effect: Effect;
  metric: Metric;
  ablation: Ablation;
  controls: string;
  disjoint: boolean;
  /** null: as many as suit the model. */
  shots: number | null;
  chat: boolean;
  seed: string;
}

/** The kinds of prompts in the paper, and controls without arithmetic, by their names. */
export const PRESETS = Object.fromEntries(
  Object.entries(NAMED_SETS).map(([name, prompts]) => [name, setDraftOf(prompts)]),
) as Readonly<Record<keyof typeof NAMED_SETS, SetDraft>>;

const newChoice = (set: SetDraft | CustomDraft, key: number): SetChoice => ({
  key,
  set,
  // A set without arithmetic is a control: heads are knocked out on it, but not found on it.
  found: isCustom(set) || !isControl(set.topic),
  evaluated: true,
  shots: null,
  chat: null,
});

/** The fields that the draft and the spec share. */
const settingsOf = (spec: Partial<TransferSpec>) =>
  fieldsOfSpec(TERMS, spec, ['top_k', 'controls', 'seed'], ['effect', 'metric', 'ablation', 'disjoint']);

/** The draft of an untouched form. */
export const initialTransfer = (): TransferDraft => ({
  sets: EVALUATED_ON.map((name, key) => ({
    ...newChoice(PRESETS[name], key),
    found: (FOUND_ON as readonly string[]).includes(name),
  })),
  ...settingsOf({}),
  shots: null,
  chat: false,
});

/** The draft of an existing transfer. The first set's worked examples and chat template become the shared ones. */
export function transferDraftOf(spec: TransferSpec): TransferDraft {
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
  return { sets, ...settingsOf(spec), shots: first?.shots ?? null, chat: first?.chat ?? false };
}

export const withSet = (sets: readonly SetChoice[], set: SetDraft | CustomDraft): SetChoice[] => [
  ...sets,
  newChoice(set, 1 + Math.max(-1, ...sets.map(({ key }) => key))),
];

/** Short name of a set: "addition, statements, 10 to 99, in words". Defaults are left out. */
export function setName(set: SetDraft | CustomDraft): string {
  if (isCustom(set)) return customName(set);
  const plain = set.topic === DEFAULT_SET.topic;
  const operations = set.operations.map((operation) => CHOICES.Operation[operation].label).join(' and ');
  const { smallest, largest } = DEFAULT_SET;
  const parts = [
    plain ? operations || 'no operation' : topicName(set.topic),
    !plain && operationsOf(set.topic).length > 1 ? operations : null,
    hasStyles(set.topic) && set.styles.join() !== DEFAULT_SET.styles.join()
      ? set.styles.map((style) => `${style}s`).join(' and ')
      : null,
    !isControl(set.topic) && (set.smallest.trim() !== smallest || set.largest.trim() !== largest)
      ? `${set.smallest.trim()} to ${set.largest.trim()}`
      : null,
    set.numerals === DEFAULT_SET.numerals ? null : CHOICES.Numerals[set.numerals].label,
    set.decimals > 0 ? `${set.decimals} decimal${set.decimals > 1 ? 's' : ''}` : null,
    set.wording === DEFAULT_SET.wording ? null : 'many wordings',
    set.half && CHOICES.Half[set.half].label,
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
  for (const [side, purpose, { maxLength: most }] of [
    ['found', 'to find heads on', TERMS.found_on],
    ['evaluated', 'to knock them out on', TERMS.evaluated_on],
  ] as const) {
    if (sides[side].length === 0) return no(`Choose at least one set ${purpose}.`);
    if (sides[side].length > most) return no(`At most ${most} sets ${purpose}.`);
  }
  const numbers = readNumbers(TERMS, draft, ['top_k', 'controls', 'seed']);
  if (typeof numbers === 'string') return no(numbers);
  const { effect, metric, ablation, disjoint } = draft;
  return {
    spec: {
      kind: 'transfer',
      model,
      ...(parent === null ? {} : { parent }),
      found_on: sides.found,
      evaluated_on: sides.evaluated,
      ...numbers,
      effect,
      metric,
      ablation,
      disjoint,
    },
    problem: null,
  };
}
