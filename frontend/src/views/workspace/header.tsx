// The header of an analysis: model, metric, and exports.
import { useState } from 'preact/hooks';
import { fileAddress } from '../../api/client';
import type { Experiment, Metric, ModelCard, Problem, Result, Spec } from '../../api/wire';
import { effectMap } from '../../charts/effectMap';
import { componentName } from '../../model/component';
import type { EffectTable } from '../../model/effects';
import { analysisFormUrl } from '../../model/prefill';
import { patchingSummary, optionsOf } from '../../model/patchingOptions';
import { requestedPairs, isFinal, shortRevision } from '../../text/experiment';
import { METRIC_NAMES, METRIC_DESCRIPTIONS, plural, SIGN_MEANINGS } from '../../text/numbers';
import { title } from '../../text/titles';
import { escapeForPlotly } from '../../text/tokens';
import { Field, Menu, problemOf } from '../../ui/parts';
import { image, save } from '../../ui/plot';
import { EditAndRun } from '../experiment/editAndRun';
import { ExperimentHeader } from '../experiment/header';
import { TunedFrom } from '../fineTune/lineage';

export interface HeaderProps {
  experiment: Experiment;
  spec: Spec;
  result: Result | null;
  cards: readonly ModelCard[];
  table: EffectTable | null;
  metric: Metric;
  metrics: readonly Metric[];
  onMetric: (metric: Metric) => void;
  put: (experiment: Experiment) => void;
}

export function Header({ experiment, spec, result, cards, table, metric, metrics, onMetric, put }: HeaderProps) {
  const [error, setError] = useState<Problem | null>(null);
  // The run may have fewer pairs than requested.
  const pairs = result ? result.pairs.length : (experiment.progress.total ?? requestedPairs(spec));
  return (
    <ExperimentHeader
      experiment={experiment}
      put={put}
      kept={pairs}
      error={error}
      facts={
        <>
          <span>
            {result?.model.name ?? spec.model}
            {result && <span class="faint">@{shortRevision(result.model.revision)}</span>}
          </span>
          <TunedFrom cards={cards} model={spec.model} />
          <span>{plural(pairs, 'pair')}</span>
          <span data-testid="done">{patchingSummary(optionsOf(spec))}</span>
        </>
      }
      before={
        <Field label="Metric" class="inline">
          {(id) => (
            <select
              id={id}
              value={metric}
              title={METRIC_DESCRIPTIONS[metric]}
              onChange={(event) => onMetric(event.currentTarget.value as Metric)}
            >
              {metrics.map((name) => (
                <option key={name} value={name}>
                  {METRIC_NAMES[name]}
                </option>
              ))}
            </select>
          )}
        </Field>
      }
      after={
        <>
          {result && table && (
            <Exports id={experiment.id} result={result} table={table} metric={metric} tell={setError} />
          )}
          {isFinal(experiment.state) && <EditAndRun spec={spec} to={analysisFormUrl(spec)} />}
        </>
      }
    />
  );
}

function provenance(result: Result): string[] {
  const { model, provenance: from } = result;
  const seed = result.spec.prompts.source === 'template' ? `, seed ${result.spec.prompts.seed}` : '';
  return [
    `${model.name}@${shortRevision(model.revision)}, ${plural(result.pairs.length, 'pair')}, ${patchingSummary(optionsOf(result.spec))}`,
    `prompts ${from.prompt_set_hash.slice(0, 12)}${seed}, ${from.dtype} on ${from.device}, arithmoscope ${from.code_version}`,
  ];
}

function Exports({
  id,
  result,
  table,
  metric,
  tell: onError,
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
        title: escapeForPlotly(
          `${title(result.spec, result.pairs.length)}${best ? ` (rank ${best.rank}: ${componentName(best)})` : ''}`,
        ),
        provenance: provenance(result).map(escapeForPlotly).join('<br>'),
        legend: `${METRIC_DESCRIPTIONS[metric]}<br>below 0: ${SIGN_MEANINGS[table.direction].below}`,
      },
    });
    try {
      save(await image(figure, format), `${id}.effects.${metric}.${format}`);
      onError(null);
    } catch (reason) {
      onError(problemOf(reason));
    }
  };
  return (
    <>
      <a class="button quiet" href={fileAddress(id, `components.csv?metric=${metric}`)} download>
        Download CSV
      </a>
      <Menu label="Export">
        <a
          href={fileAddress(id, `components.csv-metadata.json?metric=${metric}`)}
          download={`${id}.components.${metric}.csv-metadata.json`}
        >
          Column descriptions of the CSV
        </a>
        <a href={fileAddress(id, 'result')} download={`${id}.result.json`}>
          Result as JSON
        </a>
        <a href={fileAddress(id, 'arrays.npz')} download>
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
