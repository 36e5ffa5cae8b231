import { describe, expect, it } from 'vitest';
import type { AnySpec, Experiment, Health, Progress, Spec } from '../api/wire';
import '../registry';
import { totalOf, cancelledLine, estimate, healthLine, progressLine, share } from './experiment';

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
const progress = (part: Partial<Progress>): Progress => ({ stage: 'pairs', done: 0, ...part });

describe('progress in one line', () => {
  it.each([
    [progress({ stage: 'queued', queue_position: 2, eta_s: 240 }), 'queued (2 ahead, ~4 min)'],
    [progress({ stage: 'queued', queue_position: 0 }), 'queued (next)'],
    [progress({ stage: 'queued' }), 'queued'],
    [progress({ stage: 'loading_model' }), 'loading model'],
    [progress({ done: 24, total: 64, layer: 12, layers: 30 }), 'pairs 24/64 (layer 12/30)'],
    [progress({ done: 24 }), 'pairs 24'],
    [progress({ stage: 'saving' }), 'saving'],
    [progress({ stage: 'sets', done: 3, total: 12 }), 'sets 3/12'],
  ])('%j is shown as %s', (given, line) => expect(progressLine('running', given)).toBe(line));

  it('is “queued” after a run is requeued, regardless of its earlier stage', () => {
    expect(progressLine('queued', progress({ done: 24, total: 64 }))).toBe('queued');
  });

  it('fills the bar by pairs or sets; indeterminate while the total is unknown', () => {
    expect(share(progress({ done: 16, total: 64 }))).toBe(0.25);
    expect(share(progress({ done: 16, total: 64, layer: 16, layers: 30 }))).toBeCloseTo((16 + 4) / 64);
    expect(share(progress({ done: 63, total: 64, layer: 30, layers: 30 }))).toBeLessThan(1);
    expect(share(progress({ stage: 'loading_model' }))).toBeNull();
    expect(share(progress({ done: 3 }))).toBeNull();
    expect(share(progress({ stage: 'saving' }))).toBe(1);
    expect(share(progress({ stage: 'sets', done: 3, total: 12 }))).toBe(0.25);
    expect(share(progress({ stage: 'sets', done: 3 }))).toBeNull();
  });
});

it('describes what a cancelled run kept', () => {
  expect(cancelledLine(SET, 24, 64)).toBe('Cancelled after 24 of 64 pairs: the result over 24 is kept.');
  expect(cancelledLine(SET, null, 64)).toMatch(/no result/);
  expect(cancelledLine({ kind: 'transfer' }, 3, 12)).toMatch(
    /^Cancelled after 3 of 12 sets: .* there is no result; running it again/,
  );
  expect(cancelledLine(SET, 8, null)).toBe('Cancelled after 8 pairs: the result over 8 is kept.');
});

it('takes the total from the progress, otherwise from the spec, otherwise null', () => {
  const row = (spec: AnySpec, part: Partial<Progress> = {}) => ({ spec, progress: progress(part) });
  expect(totalOf(row(SET))).toBe(64);
  expect(totalOf(row(SET, { total: 40 }))).toBe(40);
  expect(totalOf(row({ kind: 'knockout', parent: 'x' }))).toBeNull();
  expect(totalOf(row({ kind: 'knockout', parent: 'x', prompts: SET.prompts } as AnySpec))).toBe(64);
  expect(totalOf(row({ kind: 'steering' }))).toBeNull();
});

describe('the health pill', () => {
  const health: Health = {
    status: 'ok',
    version: '1',
    broker: 'ok',
    store: 'ok',
    workers: [{ id: 'w', device: 'cpu', models: [], busy: true }],
    running: 1,
    waiting: 2,
  };
  it('counts running and waiting experiments', () =>
    expect(healthLine(health)).toEqual({ tone: 'good', text: '1 running, 2 waiting' }));
  it('warns that nothing runs without a worker', () => {
    expect(healthLine({ ...health, workers: [] })).toEqual({
      tone: 'warn',
      text: 'no worker: results are readable, new runs will wait',
    });
  });
  it('names the service that is down', () => {
    expect(healthLine({ ...health, broker: 'down' }).text).toMatch(/queue/);
    expect(healthLine({ ...health, store: 'down' }).text).toMatch(/store/);
  });
});

describe('the estimated run time', () => {
  const run = (pairs: number, seconds: number, model = 'm'): Experiment => ({
    id: 'x',
    kind: 'path_patching',
    name: '',
    notes: '',
    priority: 'normal',
    attempt: 1,
    spec: { ...SET, model },
    state: 'succeeded',
    progress: { stage: 'done', done: pairs, total: pairs },
    cancel_requested: false,
    parent: null,
    error: null,
    created_at: '2026-01-01T00:00:00Z',
    started_at: '2026-01-01T00:00:00Z',
    finished_at: new Date(Date.parse('2026-01-01T00:00:00Z') + 1000 * seconds).toISOString(),
  });
  it('scales with the number of pairs and is never below that of the run it is based on', () => {
    expect(estimate([run(64, 40)], SET, 128)).toBe(80);
    expect(estimate([run(64, 40)], SET, 1)).toBe(40);
    expect(estimate([run(64, 40), run(2, 5)], SET, 1)).toBe(5);
    expect(estimate([run(1, 4)], SET, 64)).toBeNull();
  });
  it('treats a missing chat field as false', () => {
    const { chat: _, ...prompts } = SET.prompts;
    expect(estimate([run(64, 40)], { ...SET, prompts }, 64)).toBe(40);
  });
  it('is not based on other kinds of experiments', () => {
    const other = { kind: 'knockout', parent: 'x' } as unknown as Spec;
    expect(estimate([{ ...run(64, 40), spec: other }], SET, 64)).toBeNull();
  });
  it('is not based on other models, effects or options, nor on failed runs', () => {
    expect(estimate([run(64, 40, 'other')], SET, 64)).toBeNull();
    expect(estimate([run(64, 40)], { ...SET, effect: 'direct' }, 64)).toBeNull();
    expect(estimate([run(64, 40)], { ...SET, positions: 'all' }, 64)).toBeNull();
    expect(estimate([run(64, 40)], { ...SET, source: 'mean' }, 64)).toBeNull();
    expect(estimate([run(64, 40)], { ...SET, prompts: { ...SET.prompts, chat: true } }, 64)).toBeNull();
    expect(estimate([{ ...run(64, 40), state: 'failed' }], SET, 64)).toBeNull();
  });
});
