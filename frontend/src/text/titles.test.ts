import { describe, expect, it } from 'vitest';
import type { AnySpec, Experiment, Spec, TransferSpec } from '../api/wire';
import '../registry';
import { specTitle, kindName, modelOf, nameOf, title, methodSummary } from './titles';

const SET: Spec = {
  kind: 'path_patching',
  model: 'm',
  effect: 'through_mlps',
  positions: 'end',
  source: 'counterfactual',
  direction: 'noising',
  metrics: ['logit'],
  prompts: {
    source: 'template',
    operations: ['add'],
    styles: ['equation'],
    operands: [1, 9],
    pairs: 64,
    shots: 2,
    chat: false,
    corruption: 'null_operator',
    seed: 0,
    keep_wrong: false,
  },
};
const typed = (...references: string[]): Spec => ({
  ...SET,
  prompts: {
    source: 'custom',
    pairs: references.map((reference) => ({ reference })),
    shots: 0,
    chat: false,
    corruption: 'null_operator',
    keep_wrong: true,
  },
});
describe('the title', () => {
  it('is the prompt itself for custom prompts', () => {
    expect(title(typed('2 + 3 = 5\n3 + 5 ='))).toBe('3 + 5 =');
    expect(title(typed('3 + 5 =', '1 + 1 ='))).toBe('3 + 5 = and 1 more');
  });
  it('counts the prompts of a set, or those kept once known', () => {
    expect(title(SET)).toBe('64 addition prompts');
    expect(title(SET, 34)).toBe('34 addition prompts');
    expect(title(SET, 1)).toBe('1 addition prompt');
    const about = (topic: 'facts' | 'question') => ({ prompts: { ...SET.prompts, topic } as Spec['prompts'] });
    expect(title(about('facts'))).toBe('64 fact prompts');
    expect(title(about('question'))).toBe('64 addition prompts');
    expect(title({ prompts: { ...SET.prompts, chat: true } }, 34)).toBe('34 addition prompts (chat)');
  });
  it('makes bidirectional control characters visible', () => {
    expect(title(typed('\u202e3 + 5 ='))).toBe('‹202e›3 + 5 =');
  });
});

describe('every kind of experiment', () => {
  const knockout = (part: object = {}): AnySpec => ({ kind: 'knockout', parent: 'a', ...part });
  const transfer: TransferSpec = {
    kind: 'transfer',
    model: 'm',
    found_on: [SET.prompts],
    evaluated_on: [SET.prompts, SET.prompts],
  };
  const newer: AnySpec = { kind: 'steering', parent: 'a' };
  it('has a title derived from its spec', () => {
    expect(specTitle(SET, 34)).toBe('34 addition prompts');
    expect(specTitle(knockout())).toBe('Knock-out of the top 10');
    expect(specTitle(knockout({ top_k: 3, among: 'head' }))).toBe('Knock-out of the top 3 heads');
    expect(specTitle(knockout({ components: ['L1H1', 'MLP2'] }))).toBe('Knock-out of L1H1, MLP2');
    const many = ['L1H1', 'L1H2', 'L1H3', 'L1H4', 'L1H5'];
    expect(specTitle(knockout({ components: many }))).toBe('Knock-out of L1H1, L1H2, L1H3 and 2 more');
    expect(specTitle(transfer)).toBe('Transfer from 1 set to 2 sets of prompts');
  });
  it('is shown by the name of its kind if the page does not know it', () => {
    expect(specTitle(newer)).toBe('Experiment of kind “steering”');
    expect(methodSummary(newer)).toBe('steering');
    expect(modelOf({ spec: newer }, [])).toBe('');
    expect(kindName('x\u202ey')).not.toContain('\u202e');
  });
  it('prefers the user’s name to the title', () => {
    expect(nameOf({ name: ' Mine ', spec: knockout() })).toBe('Mine');
    expect(nameOf({ name: '', spec: knockout() })).toBe('Knock-out of the top 10');
  });
  it('has the model of its parent analysis, if known', () => {
    const parent = { id: 'a', spec: SET } as Partial<Experiment> as Experiment;
    expect(modelOf({ spec: knockout() }, [parent])).toBe('m');
    expect(modelOf({ spec: knockout() }, [])).toBe('');
    expect(modelOf({ spec: transfer }, [])).toBe('m');
  });
});
