import { describe, expect, it } from 'vitest';
import { ago, bytes, digits, duration, effect, interval, signMeaning, percent, plural, speakEffect } from './numbers';

describe('a number', () => {
  it.each([
    [0, '0'],
    [-0, '0'],
    [-3.204, '−3.20'],
    [14.26, '14.3'],
    [123.4, '123'],
    [0.0421, '0.042'],
    [-0.00001234, '−1.2e−5'],
    [12_345_678, '1.23e7'],
  ])('%d is formatted as %s', (value, text) => expect(digits(value)).toBe(text));
  it('is n/a if it is not finite', () => {
    expect([null, NaN, Infinity].map(digits)).toEqual(['n/a', 'n/a', 'n/a']);
  });

  it('has its unit, or is n/a if missing', () => {
    expect(effect(-3.2, 'relative_logit')).toBe('−3.20 %');
    expect(effect(-3.2, 'logit')).toBe('−3.20');
    expect(effect(null, 'logit')).toBe('n/a');
    expect(interval(-1, 2, 'relative_logit')).toBe('−1.00 to 2.00 %');
    expect(interval(null, null, 'logit')).toBe('no interval');
  });

  it('has a spoken form for screen readers', () => {
    expect(speakEffect(-3.2, 'relative_logit')).toBe('minus 3.20 percent');
    expect(speakEffect(0.5, 'logit')).toBe('0.500 logits');
    expect(speakEffect(null, 'logit')).toBe('not computed');
  });

  it('explains what its sign means', () => {
    expect(signMeaning(-1, 'noising')).toBe('hurts when removed');
    expect(signMeaning(1, 'noising')).toBe('helps when removed');
    expect(signMeaning(-1, 'denoising')).toBe('hurts when put back');
    expect(signMeaning(1, 'denoising')).toBe('restores the answer');
    expect(signMeaning(0, 'noising')).toBe('changes nothing when removed');
    expect(signMeaning(0, 'denoising')).toBe('changes nothing when put back');
  });
});

describe('time in words', () => {
  it.each([
    [0.4, 'under 1 s'],
    [41, '41 s'],
    [240, '4 min'],
    [3600 * 2, '2 h'],
    [3600 * 2 + 1200, '2 h 20 min'],
  ])('%d seconds are %s', (seconds, text) => expect(duration(seconds)).toBe(text));

  const now = new Date('2026-01-31T12:00:00Z');
  it.each([
    ['2026-01-31T11:59:30Z', 'just now'],
    ['2026-01-31T11:59:00Z', '1 minute ago'],
    ['2026-01-31T10:00:00Z', '2 hours ago'],
    ['2026-01-29T10:00:00Z', '2 days ago'],
    ['2025-11-29T10:00:00Z', '2025-11-29'],
  ])('%s was %s', (then, text) => expect(ago(new Date(then), now)).toBe(text));
});

it('formats counts and percentages', () => {
  expect(plural(1, 'pair')).toBe('1 pair');
  expect(plural(10_000, 'pair')).toBe('10,000 pairs');
  expect(percent(0.2436)).toBe('24.4 %');
  expect(percent(0.0001)).toBe('< 0.1 %');
  expect(percent(0)).toBe('0.0 %');
});

describe('a size', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [3_440_000, '3.4 MB'],
    [999_999, '1.0 MB'],
    [120_000_000_000, '120 GB'],
    [5e15, '5000 TB'],
  ])('%d bytes is formatted as %s', (count, text) => expect(bytes(count)).toBe(text));
});
