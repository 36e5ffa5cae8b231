import { expect, test } from 'vitest';
import { changedFields, unsavedEdits, hasUnsavedEdits, keepEdits, remainingEdits } from './notes';

const kept = { name: 'Mine', notes: 'by a colleague' };

test('changedFields returns only edited fields that differ', () => {
  expect(changedFields({ name: 'New' }, kept)).toEqual({ name: 'New' });
  expect(changedFields({ name: 'Mine', notes: '' }, kept)).toEqual({ notes: '' });
  expect(changedFields({}, kept)).toEqual({});
});

test('remainingEdits keeps edits made while saving', () => {
  expect(remainingEdits({ name: 'New', notes: 'more' }, { name: 'New', notes: 'mo' })).toEqual({ notes: 'more' });
  expect(remainingEdits({ name: 'New' }, { name: 'New' })).toEqual({});
});

test('unsaved edits are kept per experiment until cleared', () => {
  keepEdits('a', { notes: 'half a thought' });
  expect(unsavedEdits('a')).toEqual({ notes: 'half a thought' });
  expect(unsavedEdits('b')).toEqual({});
  expect(hasUnsavedEdits()).toBe(true);
  keepEdits('a', {});
  expect(unsavedEdits('a')).toEqual({});
  expect(hasUnsavedEdits()).toBe(false);
});
