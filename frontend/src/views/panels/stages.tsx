// The answer through the layers: its probability and rank, the two cosine curves, and what is known of one prompt.
import { getView } from '../../api/client';
import type { Schema } from '../../api/wire';
import type { Theme } from '../../charts/colours';
import { LINE, type Mark } from '../../charts/lines';
import { shownPair } from '../../model/pairs';
import { panelsAt, type AnalysisPanel, type PanelProps } from '../../panels';
import { digits, layerName, percent, plural } from '../../text/numbers';
import { PromptChoice } from '../workspace/promptChoice';
import { Curves, type Chart } from '../../ui/curves';
import { Computed } from '../../ui/computed';

type StagesReport = Schema<'StagesReport'>;

export const panel: AnalysisPanel = {
  name: 'stages',
  title: 'How the answer emerges',
  description: 'The layers where the operands arrive and the answer appears, and the logit lens of one prompt.',
  order: 30,
  Panel: StagesPanel,
};

function StagesPanel(props: PanelProps) {
  const { id, result, view, onPrompt } = props;
  const pair = shownPair(result, view.prompt);
  return (
    <>
      <Computed of={`stages ${id}`} load={(signal) => getView<StagesReport>(id, 'stages', signal)}>
        {(report) => <Stages report={report} />}
      </Computed>
      {pair && (
        <>
          <h3>One prompt</h3>
          <PromptChoice result={result} pair={pair} onPrompt={onPrompt} />
          {panelsAt('prompt').map(({ name, Panel }) => (
            <Panel key={name} {...props} />
          ))}
        </>
      )}
    </>
  );
}

const STAGES = ['start', 'inflection', 'end'] as const;

/** The end of an interval may lie between two layers. */
const formatLayer = (layer: number): string => (Number.isInteger(layer) ? String(layer) : layer.toFixed(1));

/** The embedding comes before layer 0. */
const places = (row: readonly (number | null)[], first: number): number[] => row.map((_, i) => i + first);

const stageMarks = (report: StagesReport): Mark[] =>
  STAGES.flatMap((name) => {
    const at = report[name];
    return at === null ? [] : [{ at, name, interval: report[`${name}_interval`] }];
  });

const probabilityChart = ({ probability }: StagesReport, theme: Theme): Chart => ({
  curves: [{ name: 'mean', y: probability, colour: LINE[theme].main }],
  options: {
    x: places(probability, -1),
    xName: 'layer (−1: the embedding)',
    yName: 'probability',
    yRange: [-0.02, 1.02],
  },
});

const rankChart = ({ rank }: StagesReport, theme: Theme): Chart => ({
  curves: [{ name: 'median (1: the top token)', y: rank, colour: LINE[theme].main }],
  options: { x: places(rank, -1), xName: 'layer (−1: the embedding)', yName: 'rank', log: true },
});

const readsChart = (report: StagesReport, theme: Theme): Chart => ({
  curves: [
    { name: 'the operands', y: report.operands, colour: LINE[theme].main },
    { name: 'other digits', y: report.operands_other, colour: LINE[theme].chance, dash: 'dash' },
  ],
  options: { x: places(report.operands, 0), xName: 'layer', yName: 'cosine', marks: stageMarks(report) },
});

const writesChart = (report: StagesReport, theme: Theme): Chart => ({
  curves: [
    { name: 'the answer', y: report.answer, colour: LINE[theme].second },
    { name: 'other digits', y: report.answer_other, colour: LINE[theme].chance, dash: 'dash' },
  ],
  options: { x: places(report.answer, 0), xName: 'layer', yName: 'cosine', marks: stageMarks(report) },
});

function Stages({ report }: { report: StagesReport }) {
  return (
    <>
      <dl class="stages" aria-label="Stages">
        {STAGES.map((name) => {
          const [at, interval] = [report[name], report[`${name}_interval`]];
          return (
            <div key={name}>
              <dt>{name}</dt>
              <dd>
                {at === null ? 'none' : <strong>layer {at}</strong>}{' '}
                {interval && (
                  <span class="faint">
                    (95 %: {formatLayer(interval[0])} to {formatLayer(interval[1])})
                  </span>
                )}
              </dd>
            </div>
          );
        })}
      </dl>
      <p class="faint">
        Mean over {plural(report.prompts, 'prompt')}. Stages are read from both cosine curves after subtracting those of
        other digits: the inflection is where the operands’ curve has risen most, the start where it begins to rise, the
        end where the answer’s curve peaks from there on. The rule finds all three in {percent(report.found)} of 1,000
        bootstrap draws of the questions; intervals are over those draws.
        {report.inflection === null && ' These curves do not show them.'}
      </p>
      <div class="figures by-two">
        <Curves title="Probability of the answer, if this layer were the last" data={report} draw={probabilityChart} />
        <Curves title="Rank of the answer among all tokens" data={report} draw={rankChart} />
        <Curves title="MLP input: cosine with the operands" data={report} draw={readsChart} />
        <Curves title="MLP output: cosine with the answer" data={report} draw={writesChart} />
      </div>
      <details class="fold">
        <summary>Show as a table</summary>
        <div class="scroll" tabIndex={0} role="group" aria-label="The answer by layer">
          <table>
            <thead>
              <tr>
                <th>Layer</th>
                <th class="number">Probability</th>
                <th class="number">Median rank</th>
                <th class="number">Input: operands</th>
                <th class="number">Input: other digits</th>
                <th class="number">Output: answer</th>
                <th class="number">Output: other digits</th>
              </tr>
            </thead>
            <tbody>
              {report.probability.map((probability, i) => (
                <tr key={i}>
                  <th scope="row">{layerName(i - 1)}</th>
                  <td class="number">{digits(probability)}</td>
                  <td class="number">{digits(report.rank[i] ?? null)}</td>
                  {[report.operands, report.operands_other, report.answer, report.answer_other].map((row, j) => (
                    <td key={j} class="number">
                      {i === 0 ? '' : digits(row[i - 1] ?? null)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </>
  );
}
