// A knock-out: the model's answers without k components, compared with random components.
import { useCallback, useState } from 'preact/hooks';
import { fileAddress } from '../../api/client';
import { CHOICES, FIELDS } from '../../api/vocabulary';
import type { KnockoutCurve, KnockoutResult } from '../../api/results';
import type { KnockoutMetric, KnockoutSpec } from '../../api/wire';
import type { Theme } from '../../charts/colours';
import { LINE, type Mark } from '../../charts/lines';
import type { ExperimentViewProps } from '../../model/run';
import { totalOf, isFinal, shortRevision } from '../../text/experiment';
import { digits, plural } from '../../text/numbers';
import { componentsSummary, KNOCKOUT_METRICS, knockoutMetricName } from '../../text/knockout';
import { title } from '../../text/titles';
import { Menu, Notice } from '../../ui/parts';
import { EditAndRun } from '../experiment/editAndRun';
import { ExperimentHeader } from '../experiment/header';
import { RunState } from '../experiment/runState';
import { Curves, type Chart } from '../../ui/curves';
import { Select } from '../../ui/fields';
import { KnockoutChecks } from './checks';
import { ParentLink, useParent } from './parent';

const TERMS = FIELDS.knockout;

export function KnockoutPage({ run, id, address }: ExperimentViewProps) {
  const { experiment } = run.seen;
  const spec = experiment.spec as KnockoutSpec;
  const result = run.result as KnockoutResult | null;
  const parent = useParent(spec.parent);
  // The top components are ranked by the metric of the analysis.
  const metric = spec.components || !spec.metric ? '' : `&metric=${spec.metric}`;
  const pairs = result?.n_pairs ?? totalOf(experiment);
  return (
    <div class="workspace">
      <ExperimentHeader
        experiment={experiment}
        put={run.put}
        facts={
          <>
            {parent && <ParentLink parent={parent} />}
            {result && (
              <span>
                {result.model.name}
                <span class="faint">@{shortRevision(result.model.revision)}</span>
              </span>
            )}
            {pairs !== null && <span>{plural(pairs, 'pair')}</span>}
            <span data-testid="done">{methodLine(spec)}</span>
          </>
        }
        after={
          <>
            {result && <Downloads id={id} />}
            {isFinal(experiment.state) && parent?.gone && (
              <span class="faint">It cannot be run again: its analysis was deleted.</span>
            )}
            {isFinal(experiment.state) && !parent?.gone && (
              <EditAndRun spec={spec} to={`analyses/${spec.parent}?open=knockouts${metric}`} />
            )}
          </>
        }
      />
      {address.note && <Notice>{address.note}</Notice>}
      <RunState run={run} kept={result ? result.n_pairs : null} />
      {result && <Results result={result} />}
    </div>
  );
}

/** "replaced with: mean over these prompts, at the last position, 20 random controls, on 64 addition prompts". */
function methodLine(spec: KnockoutSpec): string {
  const parts = [
    `replaced with: ${CHOICES.Ablation[spec.ablation ?? TERMS.ablation.default].label}`,
    `at ${CHOICES.KnockPositions[spec.positions ?? TERMS.positions.default].label}`,
    plural(spec.controls ?? TERMS.controls.default, 'random control'),
    spec.prompts ? `on ${title({ prompts: spec.prompts })}` : 'on the prompts of its analysis',
    spec.disjoint ? 'with operands that the analysis did not use' : null,
  ];
  return parts.filter((part) => part !== null).join(', ');
}

function Downloads({ id }: { id: string }) {
  return (
    <>
      <a class="button quiet" href={fileAddress(id, 'curve.csv')} download>
        Download CSV
      </a>
      <Menu label="Export">
        <a href={fileAddress(id, 'result')} download={`${id}.result.json`}>
          Result as JSON
        </a>
        <a href={fileAddress(id, 'raw.safetensors')} download>
          Every pair as safetensors
        </a>
      </Menu>
    </>
  );
}

function Results({ result }: { result: KnockoutResult }) {
  const measured = KNOCKOUT_METRICS.filter((metric) => result.curves[metric]);
  const [metric, setMetric] = useState<KnockoutMetric>(measured.includes('exact_match') ? 'exact_match' : 'accuracy');
  const curve = result.curves[metric] ?? result.curves[measured[0] ?? 'accuracy'];
  return (
    <>
      <KnockoutChecks result={result} />
      <section class="panel" aria-label="Curves">
        <div class="figures">
          {measured.map((each) => (
            <Curve key={each} metric={each} result={result} />
          ))}
        </div>
        <p class="faint">
          n = {plural(result.n_pairs, 'pair')}. Shaded: for the chosen components the 95 % bootstrap interval over
          distinct questions; for the random ones the range of 95 % of {plural(result.controls.length, 'draw')} of the
          same number of components from the same layers.
          {result.elbow === null
            ? ' Accuracy does not fall, so the curve has no elbow.'
            : ` Elbow at k = ${result.elbow}: most of the drop in accuracy has happened by then.`}
        </p>
      </section>
      {curve && (
        <section class="panel" aria-label="Numbers">
          <div class="row">
            <Select
              label="Measure"
              value={metric}
              choices={measured.map((each) => [each, knockoutMetricName(each)] as const)}
              choose={setMetric}
            />
          </div>
          <Numbers curve={curve} result={result} />
        </section>
      )}
    </>
  );
}

const isShare = (metric: KnockoutMetric): boolean => metric !== 'logit_difference';

function Curve({ metric, result }: { metric: KnockoutMetric; result: KnockoutResult }) {
  const draw = useCallback((of: KnockoutResult, theme: Theme) => knockoutChart(of, metric, theme), [metric]);
  return <Curves title={knockoutMetricName(metric)} data={result} draw={draw} />;
}

function knockoutChart(result: KnockoutResult, metric: KnockoutMetric, theme: Theme): Chart {
  const curve = result.curves[metric] as KnockoutCurve;
  const marks: Mark[] = result.elbow === null ? [] : [{ at: result.elbow, name: 'elbow' }];
  const random = {
    name: 'random components, mean',
    y: curve.control,
    low: curve.draws_low,
    high: curve.draws_high,
    colour: LINE[theme].chance,
    dash: 'dash' as const,
  };
  const chosen = {
    name: chosenName(result),
    y: curve.mean,
    low: curve.ci_low,
    high: curve.ci_high,
    colour: LINE[theme].main,
  };
  return {
    curves: result.controls.length > 0 ? [random, chosen] : [chosen],
    options: {
      x: curve.mean.map((_, k) => k),
      xName: 'components removed',
      yName: isShare(metric) ? 'share' : 'logits',
      ...(isShare(metric) ? { yRange: [-0.03, 1.03] as const } : {}),
      marks,
    },
  };
}

const chosenName = ({ spec }: KnockoutResult): string =>
  spec.components ? 'these components' : componentsSummary(spec);

function Numbers({ curve, result }: { curve: KnockoutCurve; result: KnockoutResult }) {
  const range = (low: number | null | undefined, high: number | null | undefined) =>
    low == null || high == null ? '–' : `${digits(low)} to ${digits(high)}`;
  return (
    <>
      <div class="scroll" tabIndex={0} role="group" aria-label="The curve as a table">
        <table>
          <thead>
            <tr>
              <th class="number">Removed</th>
              <th>Last removed</th>
              <th class="number">Mean</th>
              <th class="number">95 % interval</th>
              <th class="number">Random mean</th>
              <th class="number">Random 95 % interval</th>
              <th class="number">95 % of draws</th>
              <th class="number">p</th>
            </tr>
          </thead>
          <tbody>
            {curve.mean.map((mean, k) => (
              <tr key={k} aria-current={k === result.elbow ? 'true' : undefined}>
                <th scope="row" class="number">
                  {k}
                </th>
                <td class="mono">{k === 0 ? '' : result.components[k - 1]}</td>
                <td class="number">{digits(mean)}</td>
                <td class="number">{range(curve.ci_low[k], curve.ci_high[k])}</td>
                <td class="number">{digits(curve.control[k] ?? null)}</td>
                <td class="number">{range(curve.control_low[k], curve.control_high[k])}</td>
                <td class="number">{range(curve.draws_low[k], curve.draws_high[k])}</td>
                <td class="number">{k === 0 ? '–' : digits(curve.p_value[k] ?? null)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="faint">
        {curve.unit}; n = {plural(result.n_pairs, 'pair')}. p: (1 + draws that hurt at least as much) / (1 +{' '}
        {plural(result.controls.length, 'draw')}). The elbow’s row is marked.
      </p>
    </>
  );
}
