// Fine-tunings that differ only in tuner and seed: the benefit of choosing components.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { experimentsOf, result as readResult, submit, ApiError } from '../../api/client';
import type { FineTuneResult } from '../../api/fineTune';
import type { Experiment, FineTuneSpec, Problem, State } from '../../api/wire';
import {
  comparisonRow,
  relatedRuns,
  meanRow,
  missingControls,
  nextSeed,
  seedOf,
  tunerOf,
  type ComparisonRow,
} from '../../model/fineTuneComparison';
import type { Pool } from '../../model/fineTuneReport';
import { page } from '../../root';
import { isFinal, mayHaveResult, progressLine, STATE_LABELS } from '../../text/experiment';
import { bytes, digits, percent, plural } from '../../text/numbers';
import { share, TUNER_NAMES, TUNERS } from '../../text/fineTune';
import { useLoad } from '../../ui/hooks';
import { Link, ErrorMessage, problemOf } from '../../ui/parts';

interface ComparisonProps {
  id: string;
  spec: FineTuneSpec;
  result: FineTuneResult | null;
  state: State;
}

const REFRESH_MS = 10_000;
/** Maximum number of results read for one table. */
const MOST = 24;

export function Comparison({ id, spec, result, state }: ComparisonProps) {
  // Polls only while a run is unfinished.
  const [every, setEvery] = useState(0);
  const list = useLoad(
    `tunings of ${spec.model} ${state}`,
    (signal) => experimentsOf(spec.kind, spec.model, signal),
    every,
  );
  const rows = useMemo(() => relatedRuns(list.data ?? [], spec).slice(0, MOST), [list.data, spec]);
  const finished = rows.filter((row) => mayHaveResult(row) && row.id !== id).map((row) => row.id);
  const waiting = rows.some((row) => !isFinal(row.state));
  useEffect(() => setEvery(waiting ? REFRESH_MS : 0), [waiting]);
  // A finished result never changes: it is read once.
  const read = useRef(new Map<string, FineTuneResult | null>());
  const results = useLoad(`results of ${finished.join()}`, (signal) => readMore(read.current, finished, signal));
  const resultOf = (row: Experiment): FineTuneResult | null =>
    row.id === id ? result : (read.current.get(row.id) ?? null);
  const [error, setError] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const ask = async (specs: readonly FineTuneSpec[]) => {
    setBusy(true);
    setError(null);
    try {
      for (const each of specs) await submit(each);
    } catch (reason) {
      setError(problemOf(reason));
    }
    list.reload();
    setBusy(false);
  };
  const left = list.data ? missingControls(rows, spec) : [];
  const seed = nextSeed(rows);
  const tuners = [...new Set(rows.map((row) => tunerOf(row.spec)))];
  return (
    <section class="panel comparison" aria-label="Comparison with controls">
      <h2>Comparison with controls</h2>
      <p class="faint">
        Same questions, steps and settings; only the parameters trained and the seed differ. Share of questions answered
        correctly, before → after.
      </p>
      {list.error && !list.data && (
        <ErrorMessage problem={list.error}>
          <button type="button" onClick={list.reload}>
            Try again
          </button>
        </ErrorMessage>
      )}
      {rows.length > 0 && (
        <div class="scroll" tabIndex={0} role="group" aria-label="Comparison of tuners">
          <table>
            <thead>
              <tr>
                <th>Parameters trained</th>
                <th class="number">Seed</th>
                <th class="number">Share of parameters</th>
                <th class="number">Held out</th>
                <th class="number">Other arithmetic</th>
                <th class="number">No arithmetic</th>
                <th class="number" title="Perplexity of plain text, after / before">
                  Perplexity ratio
                </th>
                <th class="number" title="KL(before || after) of the next token of plain text, in nats">
                  KL, nats
                </th>
                <th class="number">s / step</th>
                <th class="number">Size</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <Row key={row.id} row={row} result={resultOf(row)} here={row.id === id} />
              ))}
              {TUNERS.map((tuner) => {
                const of = rows.flatMap((row) =>
                  tunerOf(row.spec) === tuner ? (evaluatedRow(resultOf(row)) ?? []) : [],
                );
                return of.length > 1 ? <Mean key={tuner} name={TUNER_NAMES[tuner]} of={of} /> : null;
              })}
            </tbody>
          </table>
        </div>
      )}
      {results.error && <ErrorMessage problem={results.error} />}
      <div class="row">
        {left.length > 0 && (
          <>
            <span class="faint">Not run yet:</span>
            {left.map((each) => (
              <button key={each.tuner} type="button" disabled={busy} onClick={() => void ask([each])}>
                Run {TUNER_NAMES[tunerOf(each)]}
              </button>
            ))}
            {left.length > 1 && (
              <button type="button" disabled={busy} onClick={() => void ask(left)}>
                Run all {left.length}
              </button>
            )}
          </>
        )}
        {list.data && left.length === 0 && (
          <button
            type="button"
            class="quiet"
            disabled={busy}
            onClick={() => void ask(tuners.map((tuner) => ({ ...spec, tuner, seed })))}
          >
            Run all again with another seed ({seed})
          </button>
        )}
      </div>
      {error && <ErrorMessage problem={error} />}
    </section>
  );
}

/** Only evaluated runs count. */
const evaluatedRow = (result: FineTuneResult | null): ComparisonRow | null =>
  result?.evaluation ? comparisonRow(result) : null;

/** Reads missing results; a failed or cancelled run may have none. */
async function readMore(
  read: Map<string, FineTuneResult | null>,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<number> {
  for (const id of ids) {
    if (read.has(id)) continue;
    try {
      read.set(id, (await readResult(id, signal)) as FineTuneResult);
    } catch (reason) {
      if (!(reason instanceof ApiError && (reason.status === 404 || reason.status === 409))) throw reason;
      read.set(id, null);
    }
  }
  return read.size;
}

interface RowProps {
  row: Experiment & { spec: FineTuneSpec };
  result: FineTuneResult | null;
  /** The run whose page this is. */
  here: boolean;
}

function Row({ row, result, here }: RowProps) {
  const name = TUNER_NAMES[tunerOf(row.spec)];
  const numbers = result && comparisonRow(result);
  return (
    <tr aria-current={here ? 'true' : undefined}>
      <th scope="row">{here ? `${name} (this one)` : <Link to={page(`analyses/${row.id}`)}>{name}</Link>}</th>
      <td class="number">{seedOf(row.spec)}</td>
      {numbers && result.evaluation ? (
        <Cells of={numbers} />
      ) : (
        <td colSpan={8} class="faint">
          {isFinal(row.state)
            ? result
              ? `${STATE_LABELS[row.state]} after ${plural(result.kept, 'step')}, not evaluated`
              : STATE_LABELS[row.state]
            : progressLine(row.state, row.progress)}
        </td>
      )}
    </tr>
  );
}

function Mean({ name, of }: { name: string; of: readonly ComparisonRow[] }) {
  return (
    <tr class="mean">
      <th scope="row">{name}, mean</th>
      <td class="number">{of.length} seeds</td>
      <Cells of={meanRow(of)} />
    </tr>
  );
}

function Cells({ of }: { of: ComparisonRow }) {
  return (
    <>
      <td class="number">{percent(of.share)}</td>
      <Both pool={of.heldOut} />
      <Both pool={of.arithmetic} />
      <Both pool={of.controls} />
      <td class="number">{of.perplexity === null ? 'n/a' : of.perplexity.toFixed(3)}</td>
      <td class="number">{digits(of.divergence)}</td>
      <td class="number">{digits(of.secondsPerStep)}</td>
      <td class="number">{bytes(of.bytes)}</td>
    </>
  );
}

const Both = ({ pool }: { pool: Pool | null }) => (
  <td class="number" title={pool ? `n = ${pool.n}` : undefined}>
    {pool ? `${share(pool.before)} → ${share(pool.after)}` : 'n/a'}
  </td>
);
