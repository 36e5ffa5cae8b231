// The workspace's head: what was asked, of which model, how it is measured, and what can be taken away.
import { useState } from 'preact/hooks';
import { cancel, exportAddress, remove } from '../../api/client';
import type { Experiment, Metric, Problem, Result } from '../../api/wire';
import { effectMap } from '../../charts/effectMap';
import { spell } from '../../model/component';
import type { EffectTable } from '../../model/effects';
import { doneWords, optionsOf } from '../../model/options';
import { navigate } from '../../nav';
import { page } from '../../root';
import { askedPairs, isFinal, nameOf, shortRevision, STATE_WORDS, title } from '../../text/experiment';
import { METRIC_WORDS, plural, SIGN_WORDS } from '../../text/numbers';
import { escapeForPlotly } from '../../text/tokens';
import { CopyLink, Field, Menu, TroubleBlock, troubleOf } from '../../ui/parts';
import { image, save } from '../../ui/plot';
import { tellDeleted } from '../../ui/undo';
import { Words } from './words';

/** The example belongs to the program: it has no owner who could name or delete it. */
const EXAMPLE = 'example';

export interface HeaderProps {
  experiment: Experiment;
  result: Result | null;
  table: EffectTable | null;
  metric: Metric;
  metrics: readonly Metric[];
  onMetric: (metric: Metric) => void;
  put: (experiment: Experiment) => void;
}

const SHORT: Record<Metric, string> = {
  relative_logit: 'relative logit (%)',
  logit: 'logit',
  logit_difference: 'logit difference',
  probability: 'probability',
};

export function Header({ experiment, result, table, metric, metrics, onMetric, put }: HeaderProps) {
  const [trouble, setTrouble] = useState<Problem | null>(null);
  const { spec, state, id } = experiment;
  // Fewer may exist than were asked for: the run knows.
  const pairs = result ? result.pairs.length : (experiment.progress.total ?? askedPairs(spec));
  const stop = async () => {
    try {
      put(await cancel(id));
      setTrouble(null);
    } catch (reason) {
      setTrouble(troubleOf(reason));
    }
  };
  const drop = async () => {
    try {
      await remove(id);
      tellDeleted({ id, name: nameOf(experiment, pairs) });
      navigate(page(''));
    } catch (reason) {
      setTrouble(troubleOf(reason));
    }
  };
  return (
    <header class="head">
      <h1 tabIndex={-1} class={experiment.name ? 'named' : ''}>
        <bdi>{nameOf(experiment, pairs)}</bdi>
      </h1>
      <p class="facts">
        {experiment.name && (
          <span class="mono">
            <bdi>{title(spec, pairs)}</bdi>
          </span>
        )}
        <span>
          {result?.model.name ?? spec.model}
          {result && <span class="faint">@{shortRevision(result.model.revision)}</span>}
        </span>
        <span>{plural(pairs, 'pair')}</span>
        <span data-testid="done">{doneWords(optionsOf(spec))}</span>
        <span class={`state state-${state}`} data-testid="state">
          {experiment.cancel_requested && !isFinal(state) ? 'cancelling' : STATE_WORDS[state]}
        </span>
      </p>
      <div class="tools">
        <Field label="Metric" class="inline">
          {(id) => (
            <select
              id={id}
              value={metric}
              title={METRIC_WORDS[metric]}
              onChange={(event) => onMetric(event.currentTarget.value as Metric)}
            >
              {metrics.map((name) => (
                <option key={name} value={name}>
                  {SHORT[name]}
                </option>
              ))}
            </select>
          )}
        </Field>
        {!isFinal(state) && (
          <button type="button" class="quiet" disabled={experiment.cancel_requested} onClick={() => void stop()}>
            Cancel
          </button>
        )}
        <CopyLink />
        {result && table && <Exports id={id} result={result} table={table} metric={metric} tell={setTrouble} />}
        {id !== EXAMPLE && state !== 'running' && (
          <button type="button" class="quiet" onClick={() => void drop()}>
            Delete
          </button>
        )}
      </div>
      {id !== EXAMPLE && <Words experiment={experiment} put={put} />}
      {trouble && <TroubleBlock problem={trouble} />}
    </header>
  );
}

function provenance(result: Result): string[] {
  const { model, provenance: from } = result;
  const seed = result.spec.prompts.source === 'template' ? `, seed ${result.spec.prompts.seed}` : '';
  return [
    `${model.name}@${shortRevision(model.revision)}, ${plural(result.pairs.length, 'pair')}, ${doneWords(optionsOf(result.spec))}`,
    `prompts ${from.prompt_set_hash.slice(0, 12)}${seed}, ${from.dtype} on ${from.device}, arithmoscope ${from.code_version}`,
  ];
}

function Exports({
  id,
  result,
  table,
  metric,
  tell,
}: {
  id: string;
  result: Result;
  table: EffectTable;
  metric: Metric;
  tell: (problem: Problem | null) => void;
}) {
  const picture = async (format: 'png' | 'svg') => {
    const best = table.ranking[0];
    const figure = effectMap(table, {
      theme: 'light',
      width: 720,
      file: {
        title: escapeForPlotly(`${title(result.spec, result.pairs.length)}${best ? ` (rank ${best.rank}: ${spell(best)})` : ''}`),
        provenance: provenance(result).map(escapeForPlotly).join('<br>'),
        legend: `${METRIC_WORDS[metric]}<br>below 0: ${SIGN_WORDS[table.direction].below}`,
      },
    });
    try {
      save(await image(figure, format), `${id}.effects.${metric}.${format}`);
      tell(null);
    } catch (reason) {
      tell(troubleOf(reason));
    }
  };
  return (
    <>
      <a class="button quiet" href={exportAddress.csv(id, metric)} download>
        Download CSV
      </a>
      <Menu label="Export">
        <a href={exportAddress.csvMetadata(id, metric)} download={`${id}.components.${metric}.csv-metadata.json`}>
          Columns of the CSV, described
        </a>
        <a href={exportAddress.json(id)} download={`${id}.result.json`}>
          Result as JSON
        </a>
        <a href={exportAddress.npz(id)} download>
          Arrays as NPZ
        </a>
        <button type="button" onClick={() => void picture('png')}>
          Map as PNG
        </button>
        <button type="button" onClick={() => void picture('svg')}>
          Map as SVG
        </button>
      </Menu>
    </>
  );
}
