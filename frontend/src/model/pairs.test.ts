import { expect, it } from 'vitest';
import type { PairResult } from '../api/wire';
import { shownPair, stored } from './pairs';

const pair = (index: number) => ({ index }) as PairResult;
const pairs = [pair(1), pair(3), pair(4)];

it('shows the pair asked for, counted in the list that was submitted', () => {
  expect(shownPair({ pairs, attention_pairs: [1] }, 3)?.index).toBe(3);
});

it('begins with the first pair whose attention is stored', () => {
  expect(shownPair({ pairs, attention_pairs: [3, 4] }, null)?.index).toBe(3);
  expect(shownPair({ pairs, attention_pairs: [] }, null)?.index).toBe(1);
  expect(shownPair({ pairs }, 99)?.index).toBe(1);
  expect(shownPair({ pairs: [] }, null)).toBeNull();
});

it('lets everything be tried where the result does not say', () => {
  expect(stored({ pairs }, pair(4))).toBe(true);
  expect(stored({ pairs, attention_pairs: [1] }, pair(4))).toBe(false);
});
