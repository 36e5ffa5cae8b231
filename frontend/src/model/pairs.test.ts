import { expect, it } from 'vitest';
import type { PairResult } from '../api/wire';
import { shownPair, stored } from './pairs';

const pair = (index: number) => ({ index }) as PairResult;
const pairs = [pair(1), pair(3), pair(4)];

it('selects the requested pair by its index in the submitted list', () => {
  expect(shownPair({ pairs, attention_pairs: [1] }, 3)?.index).toBe(3);
});

it('defaults to the first pair with stored attention', () => {
  expect(shownPair({ pairs, attention_pairs: [3, 4] }, null)?.index).toBe(3);
  expect(shownPair({ pairs, attention_pairs: [] }, null)?.index).toBe(1);
  expect(shownPair({ pairs }, 99)?.index).toBe(1);
  expect(shownPair({ pairs: [] }, null)).toBeNull();
});

it('allows every pair if the result does not list stored attention', () => {
  expect(stored({ pairs }, pair(4))).toBe(true);
  expect(stored({ pairs, attention_pairs: [1] }, pair(4))).toBe(false);
});
