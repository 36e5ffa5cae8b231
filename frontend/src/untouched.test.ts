import { describe, expect, it } from 'vitest';
import { FIELDS } from './api/vocabulary';
import { changed, type Term } from './model/fields';
import { untouchedSpecs } from './untouched';

const SPECS = untouchedSpecs();

/** A value as the vocabulary writes defaults: sets of prompts without their own defaults. */
const plain = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(plain)
    : typeof value === 'object' && value !== null && 'source' in value
      ? changed(FIELDS.template, value)
      : value;

it('builds a request from every untouched form', () => {
  expect(Object.entries(SPECS).filter(([, spec]) => spec === null)).toEqual([]);
});

describe.each(Object.entries(SPECS))('the untouched form of %s', (_, spec) => {
  const kind = spec?.kind as keyof typeof FIELDS;
  it('submits the defaults of the vocabulary and nothing else', () => {
    const terms: Record<string, Term> = FIELDS[kind];
    for (const [name, value] of Object.entries(spec ?? {})) {
      const term = terms[name];
      if (term?.default !== undefined && name !== 'components')
        expect({ [name]: plain(value) }).toEqual({ [name]: term.default });
    }
  });
  it('leaves out nothing that has no default', () => {
    const needed = Object.entries(FIELDS[kind] as Record<string, Term>).filter(([, term]) => !('default' in term));
    expect(Object.keys(spec ?? {})).toEqual(expect.arrayContaining(needed.map(([name]) => name)));
  });
});
