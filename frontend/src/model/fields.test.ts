import { describe, expect, it } from 'vitest';
import { CHOICES, EXCLUSIONS, FIELDS } from '../api/vocabulary';
import {
  changed,
  choicesOf,
  fieldsOfSpec,
  formatted,
  labelsOf,
  nearest,
  readNumber,
  readNumbers,
  whyNot,
} from './fields';

const SHARE = { label: 'Share', help: '', min: 0, max: 1 };

describe('a number', () => {
  it.each([
    ['5e-4', 0.0005],
    ['.5', 0.5],
    ['1.', 1],
    [' 0.05 ', 0.05],
    ['1e400', null],
    ['', null],
    ['.', null],
    ['0x1', null],
    ['-1', null],
  ])('the number “%s” is %s', (text, value) =>
    value === null
      ? expect(readNumber(SHARE, text)).toBe('Share must be a number from 0 to 1.')
      : expect(readNumber(SHARE, text)).toBe(value),
  );
  it('is whole where the field is, and above its limit where it has no smallest value', () => {
    const { steps, learning_rate: rate, clip } = FIELDS.fine_tune;
    expect(readNumber(steps, ' 12 ')).toBe(12);
    expect(readNumber(steps, '1.5')).toBe('Steps must be a whole number from 1 to 20,000.');
    expect(readNumber(rate, '0')).toBe('Learning rate must be a number greater than 0 and at most 1.');
    expect(readNumber(clip, ' ', true)).toBeNull();
    expect(readNumber(clip, 'x', true)).toMatch(/, or empty\.$/);
  });
  it('is formatted as it is read', () => {
    expect([5e-4, 2e-5, 0.05, 1, 0, 20_000, null].map(formatted)).toEqual([
      '5e-4',
      '2e-5',
      '0.05',
      '1',
      '0',
      '20000',
      '',
    ]);
  });
});

it('reads several numbers by their names, or says what the first problem is', () => {
  const { controls, seed } = FIELDS.knockout;
  expect(readNumbers({ controls, seed }, { controls: '3', seed: '0' }, ['controls', 'seed'])).toEqual({
    controls: 3,
    seed: 0,
  });
  expect(readNumbers({ controls, seed }, { controls: '201', seed: 'x' }, ['controls', 'seed'])).toMatch(
    /Random controls/,
  );
});

it('fills the fields of a draft from a spec, and from the defaults where the spec lacks them', () => {
  const spec = { steps: 7, clip: null } as { steps?: number; clip?: number | null; tuner?: string };
  expect(fieldsOfSpec(FIELDS.fine_tune, spec, ['steps', 'clip'], ['tuner'])).toEqual({
    steps: '7',
    clip: '',
    tuner: 'precise',
  });
});

it('gives every choice its label', () => {
  expect(choicesOf(CHOICES.Half)).toEqual([
    ['first', 'first half'],
    ['second', 'second half'],
  ]);
  expect(labelsOf(CHOICES.Half).second).toBe('second half');
});

it('leaves out values that are the defaults', () => {
  expect(changed(FIELDS.template, { topic: 'facts', half: null, operations: ['add'] })).toEqual({ topic: 'facts' });
});

describe('values that exclude each other', () => {
  const rows = EXCLUSIONS.template;
  it('are told by the reason, item by item in a list', () => {
    const why = (topic: string, option: string, value: unknown) =>
      whyNot(rows, FIELDS.template, { topic }, option, value);
    expect(why('counting', 'operations', 'subtract')).toMatch(/not an operation/);
    expect(why('counting', 'operations', 'add')).toBeNull();
    expect(why('question', 'decimals', 2)).toBeNull();
  });
  it('return to their defaults, lists without the excluded items', () => {
    const set = { topic: 'word_problem', operations: ['power', 'divide'], decimals: 2, numerals: 'words' };
    expect(nearest(rows, FIELDS.template, set)).toEqual({ ...set, operations: ['divide'], decimals: 0 });
    expect(nearest(rows, FIELDS.template, { topic: 'counting', operations: ['power'] })).toEqual({
      topic: 'counting',
      operations: ['add'],
    });
  });
  it('of a field without values are all but its default', () => {
    const why = (top_k: unknown) =>
      whyNot(EXCLUSIONS.knockout, FIELDS.knockout, { components: ['L1H1'] }, 'top_k', top_k);
    expect([why(null), why(3)]).toEqual([null, 'the components are named']);
  });
});
