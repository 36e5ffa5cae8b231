// Follows a run to its end: by the event stream first (the browser resumes it by Last-Event-ID), by polling the row
// while the stream keeps failing, and by the stream again once the row has answered for a while.
import { isFinal } from '../text/experiment';
import type { RunSnapshot } from '../model/run';
import type { TrainingCurve } from './fineTune';
import type { Experiment, PartialMeans, Progress, State } from './wire';

/** The part of EventSource that is used here. */
export interface Stream {
  readonly readyState: number;
  addEventListener(name: string, listener: (event: MessageEvent<string>) => void): void;
  close(): void;
}

export interface Connections {
  open: () => Stream;
  read: () => Promise<Experiment>;
  /** Calls back after some milliseconds; returns a function that cancels. */
  later: (ms: number, then: () => void) => () => void;
}

const CLOSED = 2;
export const POLL_MS = 2_000;
export const CHECK_MS = 15_000;
const FAILURES_BEFORE_POLLING = 3;
const POLLS_BEFORE_STREAM = 10;

const isGone = (reason: unknown): boolean =>
  typeof reason === 'object' && reason !== null && 'status' in reason && reason.status === 404;

/** Calls `onUpdate` with every change; returns a function that stops it. Ends by itself with the final state. */
export function follow(first: Experiment, connections: Connections, onUpdate: (seen: RunSnapshot) => void): () => void {
  let seen: RunSnapshot = { experiment: first, partial: null, link: 'streaming' };
  let stream: Stream | null = null;
  let cancelTimer: () => void = () => undefined;
  let stopped = false;

  const update = (change: Partial<RunSnapshot>) => {
    if (stopped) return;
    seen = { ...seen, read: false, ...change };
    onUpdate(seen);
  };
  const wait = (ms: number, then: () => void) => {
    cancelTimer();
    cancelTimer = connections.later(ms, then);
  };
  const stop = () => {
    stopped = true;
    stream?.close();
    stream = null;
    cancelTimer();
  };

  const readRow = async (): Promise<boolean> => {
    try {
      const experiment = await connections.read();
      if (stopped) return false;
      update({ experiment, read: true, link: stream ? 'streaming' : 'polling' });
      if (isFinal(experiment.state)) stop();
      return true;
    } catch (reason) {
      if (!stopped && isGone(reason)) {
        update({ link: 'gone' });
        stop();
        return false;
      }
      // The row stays unknown for now: report it and try again.
      if (!stopped && !stream) update({ link: 'unreachable' });
      return false;
    }
  };

  const poll = (good: number) => {
    stream?.close();
    stream = null;
    wait(POLL_MS, () => {
      void readRow().then((well) => {
        if (stopped) return;
        if (well && good + 1 >= POLLS_BEFORE_STREAM) openStream();
        else poll(well ? good + 1 : good);
      });
    });
  };

  // The stream may stay open and silent, as when Redis was emptied: the row is read now and then.
  const checkLater = () =>
    wait(CHECK_MS, () => {
      void readRow().then(() => {
        if (!stopped && stream) checkLater();
      });
    });

  const openStream = () => {
    let failures = 0;
    const opened = connections.open();
    stream = opened;
    const on = (name: string, then: (data: string) => void) =>
      opened.addEventListener(name, (event) => {
        if (stopped || stream !== opened) return;
        failures = 0;
        then(event.data);
      });
    on('progress', (data) => {
      const progress = JSON.parse(data) as Progress;
      const state: State = progress.stage === 'queued' ? 'queued' : 'running';
      update({ experiment: { ...seen.experiment, progress, state }, link: 'streaming' });
    });
    on('partial', (data) => update({ partial: JSON.parse(data) as PartialMeans, link: 'streaming' }));
    on('training', (data) => update({ training: JSON.parse(data) as TrainingCurve, link: 'streaming' }));
    on('state', (data) => {
      const { state } = JSON.parse(data) as { state: State };
      if (!isFinal(state)) {
        update({ experiment: { ...seen.experiment, state } });
        return;
      }
      opened.close();
      stream = null;
      // The row has the rest: times, error, final progress.
      void readRow().then((well) => {
        if (!well && !stopped) poll(0);
      });
    });
    opened.addEventListener('error', () => {
      if (stopped || stream !== opened) return;
      failures += 1;
      if (opened.readyState === CLOSED || failures >= FAILURES_BEFORE_POLLING) poll(0);
    });
    checkLater();
  };

  openStream();
  return stop;
}
