// An experiment's row, followed while it runs, and its result once there is one.
import { useEffect, useState } from 'preact/hooks';
import { experiment as readRow, eventsAddress, pause, result as readResult, ApiError } from '../../api/client';
import { follow } from '../../api/follow';
import type { Experiment, Problem } from '../../api/wire';
import type { Run, RunSnapshot } from '../../model/run';
import { isFinal, mayHaveResult } from '../../text/experiment';
import { problemOf } from '../../ui/parts';

const AGAIN_MS = 3_000;

export function useRun(id: string): Run {
  const [seen, setSeen] = useState<RunSnapshot | null>(null);
  const [result, setResult] = useState<object | null>(null);
  const [error, setError] = useState<Problem | null>(null);
  const [empty, setEmpty] = useState(false);
  const [restarts, setRestarts] = useState(0);
  // Changes made by actions: the stream does not carry them, and the row is read only now and then.
  const [mine, setMine] = useState<Partial<Experiment>>({});

  useEffect(() => {
    const controller = new AbortController();
    let stop: () => void = () => undefined;
    setResult(null);
    setEmpty(false);
    setMine({});

    const finish = async (experiment: Experiment): Promise<void> => {
      if (!mayHaveResult(experiment)) return setEmpty(true);
      await retrying(controller.signal, setError, async () => {
        try {
          const loaded = await readResult(id, controller.signal);
          if (!controller.signal.aborted) setResult(loaded);
        } catch (reason) {
          const none = reason instanceof ApiError && (reason.status === 409 || reason.status === 404);
          if (!none || experiment.state === 'succeeded') throw reason;
          setEmpty(true);
        }
      });
    };
    const start = async () => {
      const first = await retrying(controller.signal, setError, () => readRow(id, controller.signal));
      if (!first || controller.signal.aborted) return;
      setSeen({ experiment: first, partial: null, link: 'streaming' });
      if (isFinal(first.state)) return finish(first);
      stop = follow(
        first,
        {
          open: () => new EventSource(eventsAddress(id)),
          read: () => readRow(id, controller.signal),
          later: (ms, then) => {
            const timer = setTimeout(then, ms);
            return () => clearTimeout(timer);
          },
        },
        (next) => {
          setSeen(next);
          if (next.read) setMine({});
          if (isFinal(next.experiment.state)) void finish(next.experiment);
        },
      );
      return undefined;
    };
    void start();
    return () => {
      controller.abort();
      stop();
    };
  }, [id, restarts]);

  return {
    seen: seen && { ...seen, experiment: { ...seen.experiment, ...mine } },
    result,
    empty,
    error,
    reload: () => setRestarts((old) => old + 1),
    put: (experiment) => {
      const { name, notes, priority, cancel_requested } = experiment;
      setMine({ name, notes, priority, ...(cancel_requested ? { cancel_requested } : {}) });
      setSeen((old) => (old ? { ...old, experiment } : old));
    },
  };
}

/** Loads, and retries while the server is unreachable; other errors are reported and final. */
async function retrying<T>(
  signal: AbortSignal,
  report: (problem: Problem | null) => void,
  load: () => Promise<T>,
): Promise<T | null> {
  while (!signal.aborted) {
    try {
      const loaded = await load();
      if (!signal.aborted) report(null);
      return loaded;
    } catch (reason) {
      if (signal.aborted) return null;
      report(problemOf(reason));
      const passing = reason instanceof ApiError && (reason.status === 0 || reason.status === 503);
      if (!passing) return null;
      await pause(AGAIN_MS, signal).catch(() => undefined);
    }
  }
  return null;
}
