import { describe, expect, it } from 'vitest';
import type { ModelCard } from '../api/wire';
import {
  analysisDraftOf,
  BUNDLED_PROMPT,
  bundledModel,
  initialDraft,
  DEFAULT_DRAFT,
  defaultModel,
  analysisSpecOf,
  toggled,
  type Draft,
} from './analysisForm';
import { readOptions } from './patchingOptions';

const MODEL: ModelCard = {
  id: 'smollm2-135m',
  name: 'SmolLM2',
  source: 'demo',
  revision: 'abc',
  layers: 30,
  heads: 9,
  kv_heads: 3,
  parameters: 134_000_000,
  shots: 3,
  answer: 'whole',
  chat: false,
  supported: true,
};
const ADDER: ModelCard = { ...MODEL, id: 'adder', name: 'adder', source: 'bundled', shots: 0, answer: 'first' };
const ODD: ModelCard = { ...MODEL, id: 'odd', supported: false, reason: 'OddNet is not supported.' };
const draft = (part: Partial<Draft> = {}): Draft => ({ ...DEFAULT_DRAFT, model: MODEL.id, ...part });
const asked = (part: Partial<Draft>) => analysisSpecOf(draft(part), MODEL);

describe('the analysis form', () => {
  it('is valid when the page opens, and leaves the number of worked examples to the server', () => {
    expect(asked({})).toEqual({
      spec: {
        kind: 'path_patching',
        model: 'smollm2-135m',
        effect: 'through_mlps',
        positions: 'end',
        source: 'counterfactual',
        direction: 'noising',
        prompts: { source: 'custom', pairs: [{ reference: '3 + 5 =' }], corruption: 'null_operator' },
      },
      problem: null,
    });
  });

  it('starts in set mode if the source in the URL needs a set', () => {
    for (const [search, mode] of [
      ['?source=mean', 'set'],
      ['?source=resample', 'set'],
      ['?source=zero', 'one'],
    ] as const) {
      const { options } = readOptions(search);
      const first = { ...initialDraft(options), ...options, model: MODEL.id };
      expect([search, first.mode]).toEqual([search, mode]);
      expect(analysisSpecOf(first, MODEL).spec?.source).toBe(options.source);
    }
  });

  it('sends a number of worked examples only if one was chosen', () => {
    for (const mode of ['one', 'set'] as const) {
      expect(asked({ mode }).spec?.prompts).not.toHaveProperty('shots');
      expect(asked({ mode, shots: 0 }).spec?.prompts.shots).toBe(0);
    }
  });

  it('sends typed text unchanged and leaves out empty fields', () => {
    const { spec } = asked({ answer: ' 8', counterfactual: '3 @ 5 =', prompt: ' 3 + 5 = ' });
    expect(spec?.prompts).toMatchObject({
      pairs: [{ reference: ' 3 + 5 = ', answer: ' 8', counterfactual: '3 @ 5 =' }],
    });
    expect(JSON.stringify(asked({ answer: '  ' }).spec)).not.toContain('answer');
  });

  it('sends the patching options, never an incompatible combination', () => {
    expect(asked({ effect: 'total', positions: 'all', source: 'zero' }).spec).toMatchObject({
      effect: 'total',
      positions: 'all',
      source: 'zero',
    });
    expect(asked({ source: 'mean' }).spec).toMatchObject({ source: 'counterfactual' });
    expect(asked({ source: 'mean', mode: 'set' }).spec).toMatchObject({ source: 'mean' });
    expect(asked({ source: 'mean', mode: 'set', pairs: '1' }).spec).toMatchObject({ source: 'counterfactual' });
  });

  it('uses the chat template if it is on and the model has one', () => {
    const talks: ModelCard = { ...MODEL, chat: true };
    for (const mode of ['one', 'set'] as const) {
      const chat = (model: ModelCard, part: Partial<Draft>) =>
        analysisSpecOf(draft({ mode, ...part }), model).spec?.prompts.chat;
      expect(chat(talks, { chat: true })).toBe(true);
      expect(chat(talks, {})).toBeUndefined();
      expect(chat(MODEL, { chat: true })).toBeUndefined();
    }
  });

  it('is restored from a spec and yields the same spec', () => {
    const pair = { reference: '3 + 5 =', answer: ' 8', counterfactual: '3 @ 5 =' };
    const file = { name: 'f', pairs: [pair, { reference: '1 + 1 =' }], problems: [], notes: [], n_rows: 2 };
    for (const part of [
      { prompt: '3 + 5 =', answer: ' 8', counterfactual: '3 @ 5 =', shots: 0, effect: 'direct' },
      { mode: 'file', file, answerTokens: 'each', corruption: 'operand_swap' },
      { mode: 'set', topic: 'facts', pairs: '7', seed: '3', source: 'mean', keepWrong: true },
    ] as Partial<Draft>[]) {
      const { spec } = asked(part);
      if (!spec) throw new Error('none');
      expect(analysisSpecOf(analysisDraftOf(spec), MODEL).spec).toEqual(spec);
    }
  });
  it('builds the spec of a prompt set', () => {
    expect(asked({ mode: 'set', operations: ['add', 'subtract'], largest: ' 20 ', seed: '7' }).spec?.prompts).toEqual({
      source: 'template',
      operations: ['add', 'subtract'],
      styles: ['equation'],
      operands: [1, 20],
      pairs: 64,
      corruption: 'null_operator',
      seed: 7,
      keep_wrong: false,
    });
  });

  it.each([
    [{ prompt: '  ' }, /Type a prompt/],
    [{ mode: 'set', smallest: '9', largest: '1' }, /smallest/],
    [{ mode: 'set', largest: '1e9' }, /whole numbers/],
    [{ mode: 'set', pairs: '0' }, /Pairs/],
    [{ mode: 'set', seed: '-1' }, /Seed/],
    [{ mode: 'set', operations: [] }, /operation/],
    [{ mode: 'set', styles: [] }, /style/],
  ] as [Partial<Draft>, RegExp][])('explains what is invalid: %j', (part, words) => {
    expect(asked(part).problem).toMatch(words);
  });

  it('defaults to the first supported model', () => {
    expect(defaultModel([ODD, MODEL])?.id).toBe('smollm2-135m');
    expect(defaultModel([ODD])).toBeNull();
  });

  it('defaults to the bundled model only if no other can run, and offers it if it can', () => {
    expect(defaultModel([ADDER, ODD, MODEL])?.id).toBe('smollm2-135m');
    expect(defaultModel([ADDER, ODD])?.id).toBe('adder');
    expect(bundledModel([ODD, MODEL, ADDER])?.id).toBe('adder');
    expect(bundledModel([MODEL, { ...ADDER, supported: false }])).toBeNull();
  });

  it('leaves worked examples and the treatment of longer answers to the model, unless they are chosen', () => {
    const prompts = (part: Partial<Draft>) => analysisSpecOf(draft(part), ADDER).spec?.prompts;
    expect(prompts({ prompt: BUNDLED_PROMPT })).toEqual({
      source: 'custom',
      pairs: [{ reference: '12 + 35 =' }],
      corruption: 'null_operator',
    });
    expect(prompts({ mode: 'set' })).toMatchObject({ source: 'template', answer: 'first' });
    expect(prompts({ answerTokens: 'each', shots: 1 })).toMatchObject({ shots: 1, answer: 'each' });
    expect(prompts({ answerTokens: 'whole' })).toHaveProperty('answer', 'whole');
    expect(prompts({ mode: 'set', answerTokens: 'whole' })).toHaveProperty('answer', 'whole');
  });

  it('keeps the order of a list of choices', () => {
    expect(toggled(['c'], 'a', ['a', 'b', 'c'])).toEqual(['a', 'c']);
    expect(toggled(['a', 'c'], 'c', ['a', 'b', 'c'])).toEqual(['a']);
  });
});

describe('prompts from a file', () => {
  const read = (...references: string[]): Draft['file'] => ({
    name: 'sums.csv',
    pairs: references.map((reference) => ({ reference })),
    problems: [],
    notes: [],
    n_rows: references.length,
  });

  it('are required in file mode', () => {
    expect(asked({ mode: 'file' }).problem).toBe('Upload a file of prompts.');
    expect(asked({ mode: 'file', file: read() }).problem).toBe('No row of the file can be used.');
  });

  it('are sent unchanged', () => {
    expect(asked({ mode: 'file', file: read('3 + 5 =', '4 + 4 =') }).spec?.prompts).toMatchObject({
      source: 'custom',
      pairs: [{ reference: '3 + 5 =' }, { reference: '4 + 4 =' }],
    });
  });

  it('allow mean ablation unless there is only one', () => {
    expect(asked({ mode: 'file', source: 'mean', file: read('3 + 5 =', '4 + 4 =') }).spec?.source).toBe('mean');
    expect(asked({ mode: 'file', source: 'mean', file: read('3 + 5 =') }).spec?.source).toBe('counterfactual');
  });
});
