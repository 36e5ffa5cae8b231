// The head of an analysis: of which model, how it is measured, and what can be taken away.
import { useState } from 'preact/hooks';
import { exportAddress } from '../../api/client';
import type { Experiment, Metric, ModelCard, Problem, Result, Spec } from '../../api/wire';
import { effectMap } from '../../charts/effectMap';
import { spell } from '../../model/component';
import type { EffectTable } from '../../model/effects';
import { addressOf } from '../../model/again';
import { doneWords, optionsOf } from '../../model/options';
import { askedPairs, isFinal, shortRevision } from '../../text/experiment';
import { METRIC_NAMES, METRIC_WORDS, plural, SIGN_WORDS } from '../../text/numbers';
import { title } from '../../text/titles';
import { escapeForPlotly } from '../../text/tokens';
import { Field, Menu, troubleOf } from '../../ui/parts';
import { image, save } from '../../ui/plot';
import { AskAgain } from '../experiment/askAgain';
import { ExperimentHeader } from '../experiment/header';
import { TunedFrom } from '../tuning/lineage';

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
  const [trouble, setTrouble] = useState<Problem | null>(null);
  // Fewer may exist than were asked for: the run knows.
  const pairs = result ? result.pairs.length : (experiment.progress.total ?? askedPairs(spec));
  return (
    <ExperimentHeader
      experiment={experiment}
      put={put}
      kept={pairs}
      trouble={trouble}
      facts={
        <>
          <span>
            {result?.model.name ?? spec.model}
            {result && <span class="faint">@{shortRevision(result.model.revision)}</span>}
          </span>
          <TunedFrom cards={cards} model={spec.model} />
          <span>{plural(pairs, 'pair')}</span>
          <span data-testid="done">{doneWords(optionsOf(spec))}</span>
        </>
      }
      before={
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
            <Exports id={experiment.id} result={result} table={table} metric={metric} tell={setTrouble} />
          )}
          {isFinal(experiment.state) && <AskAgain spec={spec} to={addressOf(spec)} />}
        </>
      }
    />
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
        title: escapeForPlotly(
          `${title(result.spec, result.pairs.length)}${best ? ` (rank ${best.rank}: ${spell(best)})` : ''}`,
        ),
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
          Column descriptions of the CSV
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
