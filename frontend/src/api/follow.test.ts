import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RunSnapshot } from '../model/run';
import { follow, CHECK_MS, POLL_MS, type Stream } from './follow';
import type { Experiment } from './wire';

const ROW = {
  id: 'x',
  state: 'queued',
  progress: { stage: 'queued', done: 0 },
  cancel_requested: false,
} as Experiment;

class FakeStream implements Stream {
  readyState = 1;
  listeners = new Map<string, ((event: MessageEvent<string>) => void)[]>();
  addEventListener(name: string, listen: (event: MessageEvent<string>) => void) {
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), listen]);
  }
  close() {
    this.readyState = 2;
  }
  emit(name: string, data: unknown = null) {
    for (const listen of this.listeners.get(name) ?? []) listen({ data: JSON.stringify(data) } as MessageEvent<string>);
  }
}

function start(read: () => Promise<Experiment> = () => Promise.resolve(ROW)) {
  const streams: FakeStream[] = [];
  const seen: RunSnapshot[] = [];
  const reads = vi.fn(read);
  const stop = follow(
    ROW,
    {
      open: () => {
        const stream = new FakeStream();
        streams.push(stream);
        return stream;
      },
      read: reads,
      later: (ms, then) => {
        const timer = setTimeout(then, ms);
        return () => clearTimeout(timer);
      },
    },
    (next) => seen.push(next),
  );
  return { streams, seen, reads, stop, last: () => seen.at(-1) };
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

describe('following a run', () => {
  it('reports progress and running means as they arrive', () => {
    const { streams, last } = start();
    streams[0]?.emit('progress', { stage: 'pairs', done: 8, total: 64 });
    streams[0]?.emit('partial', { n_pairs: 8, metrics: {} });
    expect(last()?.experiment).toMatchObject({ state: 'running', progress: { done: 8 } });
    expect(last()?.partial?.n_pairs).toBe(8);
    expect(last()?.link).toBe('streaming');
  });

  it('reports the whole training curve each time', () => {
    const { streams, last } = start();
    streams[0]?.emit('training', { steps: [1], losses: [3], validation: [] });
    streams[0]?.emit('progress', { stage: 'steps', done: 2, total: 80 });
    streams[0]?.emit('training', { steps: [1, 2], losses: [3, 2], validation: [] });
    expect(last()?.training?.losses).toEqual([3, 2]);
    expect(last()?.experiment.progress).toMatchObject({ stage: 'steps', done: 2 });
  });

  it('ends with the final state and reads the other fields from the row', async () => {
    const done = { ...ROW, state: 'succeeded', finished_at: 'now' } as Experiment;
    const { streams, last, reads } = start(() => Promise.resolve(done));
    streams[0]?.emit('state', { state: 'succeeded' });
    await vi.advanceTimersByTimeAsync(0);
    expect(last()?.experiment).toEqual(done);
    expect(streams[0]?.readyState).toBe(2);
    await vi.advanceTimersByTimeAsync(10 * CHECK_MS);
    expect(reads).toHaveBeenCalledTimes(1);
  });

  it('reports when the row was read, and only then: events carry no name', async () => {
    const named = { ...ROW, name: 'by a colleague' } as Experiment;
    const { streams, last } = start(() => Promise.resolve(named));
    await vi.advanceTimersByTimeAsync(CHECK_MS);
    expect(last()).toMatchObject({ read: true, experiment: { name: 'by a colleague' } });
    streams[0]?.emit('progress', { stage: 'pairs', done: 8, total: 64 });
    expect(last()).toMatchObject({ read: false, experiment: { name: 'by a colleague' } });
  });

  it('lets the browser resume a broken stream twice before it reads the row', async () => {
    const { streams, reads, last } = start();
    streams[0]?.emit('error');
    streams[0]?.emit('error');
    await vi.advanceTimersByTimeAsync(POLL_MS);
    expect(reads).not.toHaveBeenCalled();
    streams[0]?.emit('error');
    await vi.advanceTimersByTimeAsync(POLL_MS);
    expect(reads).toHaveBeenCalledTimes(1);
    expect(last()?.link).toBe('polling');
    expect(streams[0]?.readyState).toBe(2);
  });

  it('resets the failure count after any event', async () => {
    const { streams, reads } = start();
    for (let i = 0; i < 5; i += 1) {
      streams[0]?.emit('error');
      streams[0]?.emit('progress', { stage: 'pairs', done: i });
    }
    await vi.advanceTimersByTimeAsync(POLL_MS);
    expect(reads).not.toHaveBeenCalled();
  });

  it('reads the row at once if the stream is closed for good, and reopens the stream later', async () => {
    const { streams, reads } = start();
    const first = streams[0];
    if (first) first.readyState = 2;
    first?.emit('error');
    await vi.advanceTimersByTimeAsync(10 * POLL_MS);
    expect(reads).toHaveBeenCalledTimes(10);
    expect(streams).toHaveLength(2);
  });

  it('reports an unreachable server and recovers automatically', async () => {
    let up = false;
    const { streams, last } = start(() =>
      up ? Promise.resolve({ ...ROW, state: 'succeeded' }) : Promise.reject(new Error('down')),
    );
    const first = streams[0];
    if (first) first.readyState = 2;
    first?.emit('error');
    await vi.advanceTimersByTimeAsync(3 * POLL_MS);
    expect(last()?.link).toBe('unreachable');
    up = true;
    await vi.advanceTimersByTimeAsync(POLL_MS);
    expect(last()?.experiment.state).toBe('succeeded');
  });

  it('polls the row although the stream is open, in case it has gone silent', async () => {
    const { streams, last } = start(() => Promise.resolve({ ...ROW, state: 'failed' }));
    await vi.advanceTimersByTimeAsync(CHECK_MS);
    expect(last()?.experiment.state).toBe('failed');
    expect(streams[0]?.readyState).toBe(2);
  });

  it('returns to queued if the worker of a run is lost', () => {
    const { streams, last } = start();
    streams[0]?.emit('progress', { stage: 'pairs', done: 8 });
    streams[0]?.emit('progress', { stage: 'queued', done: 8 });
    expect(last()?.experiment.state).toBe('queued');
  });

  it('is silent once stopped', async () => {
    const { streams, seen, stop, reads } = start();
    stop();
    streams[0]?.emit('progress', { stage: 'pairs', done: 8 });
    await vi.advanceTimersByTimeAsync(10 * CHECK_MS);
    expect(seen).toEqual([]);
    expect(reads).not.toHaveBeenCalled();
  });
});

describe('an experiment deleted while it is followed', () => {
  it('is reported as gone, and polling stops', async () => {
    const { streams, last, reads } = start(() => Promise.reject(Object.assign(new Error('no'), { status: 404 })));
    streams[0]?.emit('state', { state: 'cancelled' });
    await vi.advanceTimersByTimeAsync(0);
    expect(last()?.link).toBe('gone');
    await vi.advanceTimersByTimeAsync(10 * CHECK_MS);
    expect(reads).toHaveBeenCalledTimes(1);
    expect(streams).toHaveLength(1);
  });
});
