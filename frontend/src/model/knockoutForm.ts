// Draft of the knock-out form, and its conversion to a spec. Its fields are named as in the spec.
import { DEFAULT_TOP_K, FIELDS } from '../api/vocabulary';
import type { Ablation, PromptsSpec, KnockoutSpec, KnockoutPositions, Metric } from '../api/wire';
import { parseComponent, type Component, componentName } from './component';
import { customPromptsOf, EMPTY_CUSTOM, customDraftOf, type CustomDraft } from './customPrompts';
import { fieldsOfSpec, formatted, no, readNumber, readNumbers, type SpecOrProblem } from './fields';
import { setDraftOf, DEFAULT_SET, otherHalf, templatePromptsOf, type SetDraft } from './promptSet';

const TERMS = FIELDS.knockout;

export interface KnockoutDraft {
  which: 'top' | 'these';
  top_k: string;
  metric: Metric;
  among: NonNullable<KnockoutSpec['among']>;
  /** Separated by commas or spaces. */
  components: string;
  ablation: Ablation;
  positions: KnockoutPositions;
  controls: string;
  prompts: 'same' | 'new' | 'own';
  set: SetDraft;
  own: CustomDraft;
  /** null: as many as suit the model. */
  shots: number | null;
  chat: boolean;
  disjoint: boolean;
  /** Empty: answers of one token. */
  answer_tokens: string;
  seed: string;
}

/** The analysis that a knock-out belongs to, as its page shows it. */
export interface AnalysisView {
  prompts: PromptsSpec;
  metric: Metric;
  pins: readonly Component[];
  /** It has a single prompt. */
  single: boolean;
}

/** The fields that the draft and the spec share. */
const settingsOf = (spec: Partial<KnockoutSpec>) =>
  fieldsOfSpec(
    TERMS,
    spec,
    ['controls', 'answer_tokens', 'seed'],
    ['metric', 'among', 'ablation', 'positions', 'disjoint'],
  );

/** The draft of an untouched form. If the analysis uses one half of the operands, the other half is the default. */
export function initialKnockout({ prompts, metric, pins, single }: AnalysisView): KnockoutDraft {
  const usual = settingsOf({});
  return {
    ...usual,
    which: pins.length > 0 ? 'these' : 'top',
    top_k: formatted(DEFAULT_TOP_K),
    metric,
    components: pins.map(componentName).join(', '),
    // A single prompt has no mean.
    ablation: single ? 'zero' : usual.ablation,
    ...defaultPrompts(prompts),
    own: EMPTY_CUSTOM,
    shots: prompts.shots ?? null,
  };
}

function defaultPrompts(of: PromptsSpec): Pick<KnockoutDraft, 'prompts' | 'set' | 'chat' | 'disjoint'> {
  if (of.source === 'custom' || of.half == null)
    return { prompts: 'same', set: DEFAULT_SET, chat: false, disjoint: TERMS.disjoint.default };
  const set = { ...setDraftOf(of), half: otherHalf(of.half) };
  return { prompts: 'new', set, chat: of.chat ?? false, disjoint: true };
}

/** The draft of an existing knock-out, to be edited and run again. */
export function knockoutDraftOf(spec: KnockoutSpec, view: AnalysisView): KnockoutDraft {
  const { prompts } = spec;
  return {
    ...initialKnockout(view),
    ...settingsOf(spec),
    which: spec.components ? 'these' : 'top',
    top_k: formatted(spec.top_k ?? DEFAULT_TOP_K),
    components: (spec.components ?? []).join(', '),
    prompts: !prompts ? 'same' : prompts.source === 'template' ? 'new' : 'own',
    ...(prompts?.source === 'template' ? { set: setDraftOf(prompts) } : {}),
    ...(prompts?.source === 'custom' ? { own: customDraftOf(prompts) } : {}),
    ...(prompts ? { shots: prompts.shots ?? null } : {}),
    chat: prompts?.chat ?? false,
  };
}

/** The component names in a text, or a message that says which is not one. */
export function parseComponentList(
  text: string,
  most: number = TERMS.components.maxLength,
  done = 'knocked out',
): string[] | string {
  const names = text.split(/[\s,;]+/).filter((name) => name !== '');
  const invalid = names.find((name) => parseComponent(name) === null);
  if (invalid !== undefined)
    return `“${invalid.slice(0, 24)}” is not a component: write L14H2 for a head, MLP19 for an MLP.`;
  if (names.length === 0) return 'Name at least one component, such as L14H2 or MLP19.';
  if (new Set(names).size < names.length) return 'A component is listed twice.';
  if (names.length > most) return `At most ${most} components can be ${done} at once.`;
  return names;
}

/** The spec of a knock-out of `parent`, or the problem that prevents it. */
export function knockoutSpecOf(draft: KnockoutDraft, parent: string): SpecOrProblem<KnockoutSpec> {
  const components = componentsOf(draft);
  if (typeof components === 'string') return no(components);
  const numbers = readNumbers(TERMS, draft, ['controls', 'seed'], ['answer_tokens']);
  if (typeof numbers === 'string') return no(numbers);
  const { answer_tokens, ...read } = numbers;
  const prompts =
    draft.prompts === 'same'
      ? null
      : draft.prompts === 'new'
        ? templatePromptsOf(draft.set, draft.shots, draft.chat)
        : customPromptsOf(draft.own, draft.shots, draft.chat);
  if (typeof prompts === 'string') return no(prompts);
  const { ablation, positions, disjoint } = draft;
  return {
    spec: {
      kind: 'knockout',
      parent,
      ...components,
      ablation,
      positions,
      ...read,
      ...(prompts ? { prompts } : {}),
      disjoint,
      ...(answer_tokens === null ? {} : { answer_tokens }),
    },
    problem: null,
  };
}

/** The part of a spec that names the components; the default number of top components is left out. */
function componentsOf({ which, components, top_k, metric, among }: KnockoutDraft): Partial<KnockoutSpec> | string {
  if (which === 'these') {
    const names = parseComponentList(components);
    return typeof names === 'string' ? names : { components: names };
  }
  const top = readNumber(TERMS.top_k, top_k);
  return typeof top === 'string' ? top : { ...(top === DEFAULT_TOP_K ? {} : { top_k: top }), metric, among };
}
