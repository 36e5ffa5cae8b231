import { describe, expect, it } from 'vitest';
import { prefillForm, takePrefill } from './prefill';
import type { KnockoutSpec, PromptsSpec, TemplatePrompts } from '../api/wire';
import {
  initialKnockout,
  knockoutDraftOf,
  knockoutSpecOf,
  parseComponentList,
  type AnalysisView,
  type KnockoutDraft,
} from './knockoutForm';
import { EMPTY_CUSTOM } from './customPrompts';
import { DEFAULT_SET, templatePromptsOf } from './promptSet';
import {
  initialTransfer,
  PRESETS,
  setName,
  transferDraftOf,
  transferSpecOf,
  withSet,
  type TransferDraft,
} from './transferForm';

const ALL = templatePromptsOf(DEFAULT_SET, 2, false) as TemplatePrompts;
const OWN: PromptsSpec = {
  source: 'custom',
  pairs: [{ reference: '3 + 5 =', answer: '8' }, { reference: '1 + 1 =' }],
  shots: 0,
  answer: 'first',
  corruption: 'operand_swap',
  keep_wrong: false,
};

const VIEW: AnalysisView = { prompts: ALL, metric: 'logit', pins: [], single: false };
const knock = (part: Partial<KnockoutDraft> = {}) => knockoutSpecOf({ ...initialKnockout(VIEW), ...part }, 'parent');

describe('the knock-out form', () => {
  it('defaults to the usual number of top components by the shown metric, on the prompts of the analysis', () => {
    expect(knock().spec).toEqual({
      kind: 'knockout',
      parent: 'parent',
      metric: 'logit',
      among: 'any',
      ablation: 'mean',
      positions: 'end',
      controls: 20,
      disjoint: false,
      seed: 0,
    });
  });
  it('uses the pinned components in their order instead of a ranking', () => {
    const pins = [
      { layer: 14, head: 2 },
      { layer: 3, head: null },
    ];
    const { spec } = knockoutSpecOf(initialKnockout({ ...VIEW, pins }), 'parent');
    expect(spec?.components).toEqual(['L14H2', 'MLP3']);
    expect(spec).not.toHaveProperty('top_k');
    expect(spec).not.toHaveProperty('metric');
  });
  it('defaults to zero ablation for a single prompt, which has no mean', () => {
    expect(initialKnockout({ ...VIEW, single: true }).ablation).toBe('zero');
  });
  it('uses a new prompt set if one is chosen', () => {
    const asked = knock({
      prompts: 'new',
      disjoint: true,
      set: { ...DEFAULT_SET, operations: ['subtract'] },
      shots: 4,
    });
    expect(asked.spec?.prompts).toMatchObject({ operations: ['subtract'], shots: 4 });
    expect(asked.spec?.disjoint).toBe(true);
  });
  it.each([
    [{ top_k: '0' }, /Top k/],
    [{ top_k: '129' }, /Top k/],
    [{ which: 'these', components: 'L1H1, L1' }, /“L1” is not a component/],
    [{ which: 'these', components: ' , ' }, /at least one/],
    [{ which: 'these', components: 'L1H1 L1H1' }, /twice/],
    [{ controls: '201' }, /Random controls/],
    [{ seed: '-1' }, /Seed/],
    [{ answer_tokens: '17' }, /Generated answer tokens/],
    [{ prompts: 'new', set: { ...DEFAULT_SET, largest: 'x' } }, /whole numbers/],
  ] as [Partial<KnockoutDraft>, RegExp][])('explains what is invalid: %j', (part, words) => {
    expect(knock(part).problem).toMatch(words);
  });
  it('evaluates on the other half of the operands if the analysis used one half, with the same options', () => {
    const first = { ...ALL, operations: ['subtract' as const], pairs: 20, half: 'first' as const, chat: true };
    const { spec } = knockoutSpecOf(initialKnockout({ ...VIEW, prompts: first }), 'parent');
    expect(spec?.prompts).toEqual({ ...first, half: 'second' });
    expect(spec?.disjoint).toBe(true);
  });
  it('requires a file if prompts from a file are chosen', () => {
    expect(knock({ prompts: 'own' }).problem).toMatch(/Upload a file/);
    const file = { name: 'f', pairs: [{ reference: '3 + 5 =' }], problems: [], notes: [], n_rows: 1 };
    expect(knock({ prompts: 'own', own: { ...EMPTY_CUSTOM, file } }).spec?.prompts).toMatchObject({
      source: 'custom',
      shots: 2,
    });
  });
  it('restores custom prompts when a run is repeated', () => {
    const { spec } = knock();
    if (!spec) throw new Error('none');
    const asked = { ...spec, prompts: OWN, disjoint: true };
    expect(knockoutSpecOf(knockoutDraftOf(asked, VIEW), 'parent').spec).toEqual(asked);
  });
  it('parses component lists with any common separator', () => {
    expect(parseComponentList(' L1H1,MLP2;L3H4\nL5H6 ')).toEqual(['L1H1', 'MLP2', 'L3H4', 'L5H6']);
  });
  it('restores a submitted spec', () => {
    for (const part of [
      { which: 'these', components: 'L1H1, MLP2', ablation: 'resample', positions: 'after_first' },
      { top_k: '3', among: 'head', prompts: 'new', disjoint: true, answer_tokens: '4', seed: '7', controls: '0' },
    ] as Partial<KnockoutDraft>[]) {
      const { spec } = knock(part);
      if (!spec) throw new Error('none');
      expect(knockoutSpecOf(knockoutDraftOf(spec, VIEW), 'parent').spec).toEqual(spec);
    }
  });
});

describe('the prefilled form', () => {
  it('is consumed once, by the form of the same kind and parent', () => {
    const spec = { kind: 'knockout' as const, parent: 'a' };
    prefillForm(spec);
    expect(takePrefill('transfer')).toBeNull();
    expect(takePrefill<KnockoutSpec>('knockout', ({ parent }) => parent === 'b')).toBeNull();
    expect(takePrefill<KnockoutSpec>('knockout', ({ parent }) => parent === 'a')).toBe(spec);
    expect(takePrefill<KnockoutSpec>('knockout', ({ parent }) => parent === 'a')).toBeNull();
  });
});

describe('the transfer form', () => {
  const first = initialTransfer();
  it('starts with at least eight prompt sets and finds no heads on sets without arithmetic', () => {
    const { spec } = transferSpecOf(first, 'm', null, true);
    expect(spec?.evaluated_on.length).toBeGreaterThanOrEqual(8);
    const topics = spec?.found_on.map((prompts) => ('topic' in prompts ? prompts.topic : 'question'));
    expect(topics).not.toContain('facts');
    expect(spec?.evaluated_on.some((prompts) => 'topic' in prompts && prompts.topic === 'facts')).toBe(true);
    expect(spec).not.toHaveProperty('parent');
    expect(transferSpecOf(first, 'm', 'p', true).spec?.parent).toBe('p');
  });
  it('accepts every preset, each with its own name', () => {
    const all: TransferDraft = { ...first, sets: [] };
    const sets = Object.values(PRESETS).reduce<TransferDraft['sets']>(withSet, []);
    expect(transferSpecOf({ ...all, sets }, 'm', null, true).spec?.evaluated_on).toHaveLength(
      Object.keys(PRESETS).length,
    );
    expect(new Set(Object.values(PRESETS).map(setName)).size).toBe(Object.keys(PRESETS).length);
  });
  it('restores a submitted spec', () => {
    const { spec } = transferSpecOf({ ...first, controls: '3', disjoint: false, ablation: 'zero' }, 'm', null, true);
    if (!spec) throw new Error('none');
    expect(transferSpecOf(transferDraftOf(spec), 'm', null, true).spec).toEqual(spec);
  });
  it('restores the prompts, worked examples and chat template of each set', () => {
    const { spec } = transferSpecOf(first, 'm', null, true);
    if (!spec) throw new Error('none');
    const asked = { ...spec, found_on: [ALL, { ...ALL, shots: 5 }], evaluated_on: [OWN, { ...ALL, chat: true }] };
    const again = transferDraftOf(asked);
    expect(again.sets).toHaveLength(4);
    expect(transferSpecOf(again, 'm', null, true).spec).toEqual(asked);
    expect(transferSpecOf(again, 'm', null, false).spec?.evaluated_on[1]).toEqual(ALL);
  });
  it('names a set of custom prompts after its first prompt', () => {
    expect(
      setName(transferDraftOf({ kind: 'transfer', model: 'm', found_on: [OWN], evaluated_on: [OWN] }).sets[0]!.set),
    ).toBe('3 + 5 = and 1 more');
  });
  it('explains what is invalid', () => {
    const problem = (part: Partial<TransferDraft>) => transferSpecOf({ ...first, ...part }, 'm', null, true).problem;
    expect(problem({ sets: [] })).toMatch(/at least one set/);
    expect(problem({ top_k: 'ten' })).toMatch(/Top k/);
    expect(problem({ sets: withSet(first.sets, DEFAULT_SET) })).toBeNull();
    expect(problem({ sets: withSet(withSet([], DEFAULT_SET), DEFAULT_SET) })).toMatch(/twice/);
    expect(problem({ sets: withSet([], { ...DEFAULT_SET, pairs: '0' }) })).toMatch(/^addition: Pairs/);
  });
});
