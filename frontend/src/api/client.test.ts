import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { getView } from './client';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const asked = () => {
  const times: number[] = [];
  return {
    times,
    answer: (ready: () => boolean) =>
      vi.stubGlobal('fetch', () => {
        times.push(Date.now());
        return Promise.resolve(
          ready()
            ? new Response('{"tables": []}')
            : new Response(null, { status: 202, headers: { 'Retry-After': '1' } }),
        );
      }),
  };
};

it('polls for a report for more than ten minutes, with pauses that grow to 5 s', async () => {
  const { times, answer } = asked();
  const start = Date.now();
  answer(() => Date.now() - start > 11 * 60_000);
  const found = getView('a', 'key', new AbortController().signal);
  await vi.advanceTimersByTimeAsync(12 * 60_000);
  expect(await found).toEqual({ tables: [] });
  const pauses = times.slice(1).map((time, i) => time - (times[i] ?? 0));
  expect(pauses[0]).toBe(1_000);
  expect(Math.max(...pauses)).toBe(5_000);
  expect(pauses.every((pause, i) => pause >= (pauses[i - 1] ?? 0))).toBe(true);
});

it('gives up on a report that never arrives, with an explanation', async () => {
  asked().answer(() => false);
  const found = getView('a', 'key', new AbortController().signal).catch((reason: unknown) => reason);
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(await found).toMatchObject({ title: 'This report is taking too long' });
});
