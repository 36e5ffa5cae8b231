import { describe, expect, it } from 'vitest';
import { FIELDS } from '../api/vocabulary';
import type { PromptsSpec, FineTuneSpec, TemplatePrompts } from '../api/wire';
import { DEFAULT_SET, templatePromptsOf } from './promptSet';
import {
  controlsOf,
  initialFineTune,
  questionSourceOf,
  trainedParts,
  fineTuneDraftOf,
  fineTuneSpecOf,
  type ParentAnalysis,
  type FineTuneDraft,
} from './fineTuneForm';
import { readFineTuneUrl, fineTuneUrl, fineTuneUrlFrom, writeFineTuneUrl } from './fineTuneUrl';

const MODEL = { id: 'm', chat: false };
const MAX_TUNED = FIELDS.fine_tune.components.maxLength;
const FOUND = templatePromptsOf({ ...DEFAULT_SET, half: 'first', answerTokens: 'first' }, 2, false) as TemplatePrompts;
const ORIGIN: ParentAnalysis = { id: 'a', model: 'm', prompts: FOUND, ranked: ['L1H1', 'MLP0', 'L0H0'] };
const NAMED = { which: 'these', components: 'L1H1, MLP0' } as const;

const ask = (part: Partial<FineTuneDraft> = {}, origin: ParentAnalysis | null = null) =>
  fineTuneSpecOf({ ...initialFineTune(origin !== null), ...part }, { model: MODEL, origin });

describe('the fine-tuning form', () => {
  it('uses the engine’s defaults for named components, with two-digit sums', () => {
    const { spec } = ask(NAMED);
    expect(spec).toMatchObject({
      kind: 'fine_tune',
      model: 'm',
      tuner: 'precise',
      components: ['L1H1', 'MLP0'],
      steps: 80,
      batch_size: 32,
      learning_rate: 5e-4,
      weight_decay: 0,
      schedule: 'cosine',
      warmup: 0.05,
      clip: 1,
      seed: 0,
    });
    expect(spec?.prompts).toMatchObject({ operations: ['add', 'subtract'], operands: [10, 99], pairs: 2000 });
    for (const name of ['parent', 'test', 'tune']) expect(spec).not.toHaveProperty(name);
    expect(spec?.prompts).not.toHaveProperty('shots');
  });
  it('takes the top components and the kind of prompts from an analysis: more prompts, all operands, whole answers', () => {
    const { spec } = ask({ top_k: '2' }, ORIGIN);
    expect(spec).toMatchObject({ parent: 'a', components: ['L1H1', 'MLP0'] });
    expect(spec?.prompts).toMatchObject({
      operations: ['add'],
      operands: [1, 9],
      pairs: 2000,
      shots: 2,
      keep_wrong: true,
    });
    for (const name of ['half', 'answer']) expect(spec?.prompts).not.toHaveProperty(name);
  });
  it('has no parent if the analysis used another model', () => {
    expect(ask(NAMED, { ...ORIGIN, model: 'other' }).spec).not.toHaveProperty('parent');
  });
  it('falls back to two-digit sums if the analysis had a single prompt or no arithmetic', () => {
    const one: PromptsSpec = {
      source: 'custom',
      pairs: [{ reference: '3 + 5 =' }],
      shots: 0,
      corruption: 'operand_swap',
    };
    const facts = { ...FOUND, topic: 'facts' } as TemplatePrompts;
    for (const prompts of [one, facts])
      expect(questionSourceOf({ from: 'analysis' }, { ...ORIGIN, prompts })).toBe('two_digits');
    expect(questionSourceOf({ from: 'analysis' }, ORIGIN)).toBe('analysis');
  });
  it('needs no components if all parameters are trained, unless a control is matched to their size', () => {
    expect(ask({ tuner: 'full', controls: [] }).spec?.components).toEqual([]);
    expect(ask({ tuner: 'full', controls: ['full_matrices'] }).spec).not.toBeNull();
    expect(ask({ tuner: 'full', controls: ['lora'] }).problem).toMatch(/“LoRA”: its size is matched/);
  });
  it('does not clip gradients if the field is empty', () => expect(ask({ ...NAMED, clip: ' ' }).spec?.clip).toBeNull());
  it.each<[Partial<FineTuneDraft>, RegExp]>([
    [{}, /at least one component/],
    [{ components: 'L1H1 L1H1' }, /twice/],
    [
      { components: Array.from({ length: MAX_TUNED + 1 }, (_, i) => `L${i % 9999}H${Math.floor(i / 9999)}`).join() },
      /At most 10000 components/,
    ],
    [{ which: 'top' }, /no analysis/],
    [{ ...NAMED, steps: '0' }, /Steps/],
    [{ ...NAMED, batch_size: '1025' }, /Batch size/],
    [{ ...NAMED, learning_rate: '0' }, /Learning rate/],
    [{ ...NAMED, learning_rate: '1.1' }, /Learning rate/],
    [{ ...NAMED, learning_rate: '5e-4x' }, /Learning rate/],
    [{ ...NAMED, weight_decay: '-1' }, /Weight decay/],
    [{ ...NAMED, warmup: '2' }, /Warm-up/],
    [{ ...NAMED, clip: '0' }, /clipping/],
    [{ ...NAMED, tune: [] }, /projection/],
    [{ ...NAMED, seed: '-1' }, /Seed/],
    [{ ...NAMED, pairs: '0' }, /Pairs/],
    [{ ...NAMED, from: 'file' }, /Upload/],
    [{ ...NAMED, test: initialFineTune(false).own }, /Test questions: Upload/],
  ])('explains why %j is invalid', (part, words) => {
    expect(ask(part).problem).toMatch(words);
  });
  it('reports that the analysis is loading, or that none of its components supports the answer', () => {
    expect(ask({}, { ...ORIGIN, ranked: null }).problem).toMatch(/Loading/);
    expect(ask({}, { ...ORIGIN, ranked: [] }).problem).toMatch(/supports the answer/);
  });
  it('builds the controls as the same spec with other tuners', () => {
    const spec = ask(NAMED).spec as FineTuneSpec;
    expect(controlsOf(spec, ['precise', 'random', 'full'])).toEqual([
      { ...spec, tuner: 'random' },
      { ...spec, tuner: 'full' },
    ]);
  });
  it('leaves out key and value projections that heads share', () => {
    expect(trainedParts({ heads: 9, kv_heads: 3 })).toEqual(['q', 'o']);
    expect(trainedParts({ heads: 9, kv_heads: 9 })).toEqual(['q', 'k', 'v', 'o']);
  });
});

describe('the form’s URL', () => {
  it('has no query for the defaults', () => {
    expect(writeFineTuneUrl({ draft: initialFineTune(false), model: null, parent: null })).toBe('');
    expect(writeFineTuneUrl({ draft: initialFineTune(true), model: null, parent: 'a' })).toBe('?parent=a');
  });
  it('round-trips every setting', () => {
    const draft: FineTuneDraft = {
      ...initialFineTune(true),
      which: 'these',
      components: 'L1H1, MLP0',
      tuner: 'offsets',
      controls: ['random'],
      from: 'set',
      set: {
        ...DEFAULT_SET,
        keepWrong: true,
        topic: 'word_problem',
        operations: ['divide'],
        numerals: 'words',
        pairs: '300',
        seed: '3',
      },
      shots: '1',
      chat: true,
      steps: '7',
      batch_size: '8',
      learning_rate: '1e-3',
      schedule: 'linear',
      weight_decay: '0.1',
      warmup: '0',
      clip: '',
      tune: ['k', 'o'],
      biases: true,
      head_scale: true,
      accumulate: '2',
      checkpointing: true,
      validate_every: '3',
      seed: '5',
    };
    const read = readFineTuneUrl(writeFineTuneUrl({ draft, model: 'm/x', parent: 'a' }));
    expect(read).toEqual({ draft, model: 'm/x', parent: 'a', notices: [] });
  });
  it('preserves empty lists of controls and components', () => {
    const draft = { ...initialFineTune(true), which: 'these' as const, controls: [] };
    const read = readFineTuneUrl(writeFineTuneUrl({ draft, model: null, parent: 'a' }));
    expect(read.draft.controls).toEqual([]);
    expect(read.draft).toMatchObject({ which: 'these', components: '' });
  });
  it('replaces unknown values with the defaults, with a notice for each', () => {
    const { draft, notices } = readFineTuneUrl('?tuner=magic&from=moon&controls=lora,zap&tune=q,z&schedule=up');
    expect(notices).toHaveLength(5);
    expect(draft).toMatchObject({
      tuner: 'precise',
      from: 'two_digits',
      controls: ['lora'],
      tune: ['q'],
      schedule: 'cosine',
    });
  });
  it('selects the pinned components of an analysis', () => {
    const { draft, parent, model } = readFineTuneUrl(
      fineTuneUrlFrom({ id: 'a', model: 'm' }, ['L1H1', 'MLP0']).replace('tune', ''),
    );
    expect({ parent, model, which: draft.which, components: draft.components }).toEqual({
      parent: 'a',
      model: 'm',
      which: 'these',
      components: 'L1H1,MLP0',
    });
    expect(readFineTuneUrl(fineTuneUrlFrom({ id: 'a', model: 'm' }, []).replace('tune', '')).draft.which).toBe('top');
  });
  it('restores a submitted spec, for the same model and for the tuned model', () => {
    const spec = { ...(ask({ ...NAMED, learning_rate: '2e-5', clip: '', tune: ['v'] }, ORIGIN).spec as FineTuneSpec) };
    const own = readFineTuneUrl(fineTuneUrl(spec).replace('tune', ''));
    expect(fineTuneSpecOf(own.draft, { model: MODEL, origin: ORIGIN }).spec).toEqual(spec);
    const next = readFineTuneUrl(fineTuneUrl(spec, 'm-tuned').replace('tune', ''));
    expect([next.model, next.parent]).toEqual(['m-tuned', null]);
    expect(fineTuneDraftOf(spec)).toMatchObject({ learning_rate: '2e-5', clip: '', tune: ['v'] });
  });
});
