import { expect, test } from 'vitest';
import { changes, draftOf, hasDrafts, keepDraft, leftOf } from './words';

const kept = { name: 'Mine', notes: 'by a colleague' };

test('only what was typed and differs is sent', () => {
  expect(changes({ name: 'New' }, kept)).toEqual({ name: 'New' });
  expect(changes({ name: 'Mine', notes: '' }, kept)).toEqual({ notes: '' });
  expect(changes({}, kept)).toEqual({});
});

test('what was typed while the rest was saved stays', () => {
  expect(leftOf({ name: 'New', notes: 'more' }, { name: 'New', notes: 'mo' })).toEqual({ notes: 'more' });
  expect(leftOf({ name: 'New' }, { name: 'New' })).toEqual({});
});

test('what was typed is kept for its analysis alone, until nothing of it is left', () => {
  keepDraft('a', { notes: 'half a thought' });
  expect(draftOf('a')).toEqual({ notes: 'half a thought' });
  expect(draftOf('b')).toEqual({});
  expect(hasDrafts()).toBe(true);
  keepDraft('a', {});
  expect(draftOf('a')).toEqual({});
  expect(hasDrafts()).toBe(false);
});
