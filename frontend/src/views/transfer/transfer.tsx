// A transfer: heads found on each set, knocked out on every set, compared with random heads; and how far the sets
// agree.
import { useState } from 'preact/hooks';
import { fileAddress } from '../../api/client';
import { CHOICES, FIELDS } from '../../api/vocabulary';
import type { TransferResult } from '../../api/results';
import type { TransferSpec } from '../../api/wire';
import { cellLines, cellsOf, cellDescription, subtract, type Measure } from '../../model/transferMatrix';
import type { ExperimentViewProps } from '../../model/run';
import { page } from '../../root';
import { isFinal, shortRevision } from '../../text/experiment';
import { duration, METRIC_NAMES, plural } from '../../text/numbers';
import { Link, Menu, Notice } from '../../ui/parts';
import { EditAndRun } from '../experiment/editAndRun';
import { ExperimentHeader } from '../experiment/header';
import { RunState } from '../experiment/runState';
import { ParentLink, useParent } from '../knockout/parent';
import { Select } from '../../ui/fields';
import { Matrix } from './matrix';

const TERMS = FIELDS.transfer;

export function TransferPage({ run, id, address }: ExperimentViewProps) {
  const { experiment } = run.seen;
  const spec = experiment.spec as TransferSpec;
  const result = run.result as TransferResult | null;
  const parent = useParent(spec.parent ?? null);
  return (
    <div class="workspace">
      <ExperimentHeader
        experiment={experiment}
        put={run.put}
        facts={
          <>
            {parent && <ParentLink parent={parent} />}
            <span>
              {result?.model.name ?? spec.model}
              {result && <span class="faint">@{shortRevision(result.model.revision)}</span>}
            </span>
            <span data-testid="done">
              top {spec.top_k ?? TERMS.top_k.default} heads by {METRIC_NAMES[spec.metric ?? TERMS.metric.default]},{' '}
              replaced with: {CHOICES.Ablation[spec.ablation ?? TERMS.ablation.default].label},{' '}
              {plural(spec.controls ?? TERMS.controls.default, 'random control')}
              {spec.disjoint === false ? '' : ', found and tested on different operands'}
            </span>
          </>
        }
        after={
          <>
            {result && <Downloads id={id} />}
            {isFinal(experiment.state) && (
              // It can be run again without its analysis.
              <EditAndRun
                spec={spec}
                to={parent && !parent.gone ? `transfer?parent=${encodeURIComponent(parent.id)}` : 'transfer'}
              />
            )}
          </>
        }
      />
      {address.note && <Notice>{address.note}</Notice>}
      <RunState run={run} kept={experiment.progress.done} />
      {result && <Results result={result} />}
    </div>
  );
}

function Downloads({ id }: { id: string }) {
  return (
    <>
      <a class="button quiet" href={fileAddress(id, 'matrix.csv')} download>
        Download CSV
      </a>
      <Menu label="Export">
        <a href={fileAddress(id, 'result')} download={`${id}.result.json`}>
          Result as JSON
        </a>
        <a href={fileAddress(id, 'raw.safetensors')} download>
          Matrices as safetensors
        </a>
      </Menu>
    </>
  );
}

const MEASURES: readonly (readonly [Measure, string])[] = [
  ['probability', 'probability of the answer'],
  ['accuracy', 'accuracy'],
];

function Results({ result }: { result: TransferResult }) {
  const [measure, setMeasure] = useState<Measure>('probability');
  const { found_on: foundOn, evaluated_on: evaluatedOn, provenance } = result;
  const matrix = result[measure];
  const cells = cellsOf(matrix);
  const rows = foundOn.map(({ name }) => name);
  const columns = evaluatedOn.map(({ name, is_control }) => (is_control ? `${name} (control)` : name));
  const describe = (i: number, j: number) =>
    cellDescription(cells[i]?.[j], rows[i] ?? '', evaluatedOn[j]?.name ?? '', evaluatedOn[j]?.pairs ?? 0);
  return (
    <>
      {result.notes.map((note) => (
        <p class="faint" key={note}>
          {note}
        </p>
      ))}
      <section class="panel" aria-label="After the knock-out">
        <div class="row">
          <h2>Every set with the heads of one set knocked out</h2>
          <Select label="Measure" value={measure} choices={MEASURES} choose={setMeasure} />
        </div>
        <div class="matrices">
          <Matrix
            title="After the knock-out"
            rows={rows}
            columns={columns}
            pairs={evaluatedOn.map(({ pairs }) => pairs)}
            values={matrix.value}
            more={(i, j) => cellLines(cells[i]?.[j])}
            above={{ name: 'nothing removed', values: matrix.plain }}
            scale="share"
            describe={describe}
          />
          <Matrix
            title="Difference from random heads (below 0: these heads matter more)"
            rows={rows}
            columns={columns}
            pairs={evaluatedOn.map(({ pairs }) => pairs)}
            values={subtract(matrix.value, matrix.control)}
            scale="difference"
            describe={describe}
          />
        </div>
        <p class="faint">
          Rows: the set on which the heads were found. Columns: the set on which they were knocked out, n pairs.
          Intervals: 95 % bootstrap over questions. Random: the same number of heads, drawn from the same layers where
          there are others, {plural(result.spec.controls ?? TERMS.controls.default, 'draw')}.
        </p>
      </section>
      <section class="panel" aria-label="Agreement between sets">
        <h2>Agreement between the sets on their heads</h2>
        <div class="matrices">
          <Matrix
            title="Overlap of the selections (Jaccard)"
            rows={rows}
            columns={rows}
            pairs={foundOn.map(({ pairs }) => pairs)}
            values={result.jaccard}
            scale="share"
          />
          <Matrix
            title="Rank correlation of all components (Spearman)"
            rows={rows}
            columns={rows}
            pairs={foundOn.map(({ pairs }) => pairs)}
            values={result.rank_correlation}
            scale="correlation"
          />
        </div>
      </section>
      <section class="panel" aria-label="Heads found">
        <h2>Heads found, most negative first</h2>
        <div class="scroll" tabIndex={0} role="group" aria-label="Heads found on each set">
          <table>
            <thead>
              <tr>
                <th>Set</th>
                <th class="number">Pairs</th>
                <th>Heads</th>
              </tr>
            </thead>
            <tbody>
              {foundOn.map((set, i) => (
                <tr key={set.name}>
                  <th scope="row">
                    <bdi>{set.name}</bdi>
                  </th>
                  <td class="number">{set.pairs}</td>
                  <td class="mono">{(result.selections[i] ?? []).join(', ') || 'none hurts when removed'}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </section>
      <p class="faint">
        {provenance.dtype} on {provenance.device}, PyTorch {provenance.torch}, {duration(provenance.seconds)}, prompts{' '}
        {provenance.prompt_set_hash.slice(0, 12)}, arithmoscope {provenance.code_version}.{' '}
        <Link to={page('transfer')}>New transfer</Link>
      </p>
    </>
  );
}
