import { expect, test } from 'vitest';
import { changedFields, unsavedEdits, hasUnsavedEdits, keepEdits, remainingEdits } from './notes';

const kept = { name: 'Mine', notes: 'by a colleague' };

test('only what was typed and differs is sent', () => {
  expect(changedFields({ name: 'New' }, kept)).toEqual({ name: 'New' });
  expect(changedFields({ name: 'Mine', notes: '' }, kept)).toEqual({ notes: '' });
  expect(changedFields({}, kept)).toEqual({});
});

test('what was typed while the rest was saved stays', () => {
  expect(remainingEdits({ name: 'New', notes: 'more' }, { name: 'New', notes: 'mo' })).toEqual({ notes: 'more' });
  expect(remainingEdits({ name: 'New' }, { name: 'New' })).toEqual({});
});

test('what was typed is kept for its analysis alone, until nothing of it is left', () => {
  keepEdits('a', { notes: 'half a thought' });
  expect(unsavedEdits('a')).toEqual({ notes: 'half a thought' });
  expect(unsavedEdits('b')).toEqual({});
  expect(hasUnsavedEdits()).toBe(true);
  keepEdits('a', {});
  expect(unsavedEdits('a')).toEqual({});
  expect(hasUnsavedEdits()).toBe(false);
});
