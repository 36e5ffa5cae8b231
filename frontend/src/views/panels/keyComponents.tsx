// Key components by each of three rules, with their p and q values.
import { useState } from 'preact/hooks';
import { getView } from '../../api/client';
import { DEFAULT_TOP_K } from '../../api/vocabulary';
import type { Metric, Schema } from '../../api/wire';
import { parseComponent, type Component } from '../../model/component';
import { countHeads, topComponents, type KeyTable } from '../../model/keyComponents';
import { optionsOf } from '../../model/patchingOptions';
import type { AnalysisPanel } from '../../panels';
import { csv } from '../../text/csv';
import { digits, effect, METRIC_NAMES, percent, plural } from '../../text/numbers';
import { NumberField, Select } from '../../ui/fields';
import { ComponentButton } from '../../ui/componentButton';
import { Computed } from '../../ui/computed';
import { SaveCsv, ShowMore } from '../../ui/tables';

interface KeyProps {
  id: string;
  metric: Metric;
  /** Denoising: the most positive effects matter. */
  restored: boolean;
  onMetric: (metric: Metric) => void;
  onSelect: (component: Component) => void;
  onPins: (pins: readonly Component[]) => void;
}

export const panel: AnalysisPanel = {
  name: 'key',
  title: 'Key components',
  description: 'Which components have an effect other than 0, and what share of the heads they are.',
  order: 10,
  Panel: ({ id, view, result, change, onSelect }) => (
    <Computed
      of={`key ${id}`}
      load={(signal) => getView<Schema<'KeyReport'>>(id, 'key', signal)}
      waiting="A worker tests every component the first time this is opened…"
    >
      {(report) => (
        <Tables
          report={report}
          id={id}
          metric={view.metric}
          restored={optionsOf(result.spec).direction === 'denoising'}
          onMetric={(metric) => change({ metric })}
          onSelect={onSelect}
          onPins={(pins) => change({ pins })}
        />
      )}
    </Computed>
  ),
};

const STEP = 30;

function Tables({
  report,
  id,
  metric,
  restored,
  onMetric,
  onSelect,
  onPins,
}: KeyProps & { report: Schema<'KeyReport'> }) {
  const [k, setK] = useState(String(DEFAULT_TOP_K));
  const [shown, setShown] = useState(STEP);
  const table = report.tables.find((each) => each.metric === metric) ?? report.tables[0];
  if (!table) return <p class="faint">No metric was computed.</p>;
  const number = /^\s*\d{1,4}\s*$/.test(k) ? Number(k) : 0;
  const top = topComponents(table, number, restored);
  const marks: readonly (readonly [string, ReadonlySet<string>])[] = [
    ['fdr', new Set(table.false_discovery ?? [])],
    [restored ? '+5 %' : '−5 %', new Set(table.threshold ?? [])],
    [`top ${number}`, new Set(top)],
  ];
  return (
    <>
      <div class="row">
        <Select
          label="Metric"
          value={table.metric}
          choices={report.tables.map((each) => [each.metric, METRIC_NAMES[each.metric]] as const)}
          choose={onMetric}
        />
        <NumberField label="Top k" value={k} change={setK} />
      </div>
      <ul class="counts" aria-label="Number of key components">
        <Rule
          name="at a false discovery rate of 5 %"
          names={table.false_discovery}
          none={`n/a: the test needs ten distinct questions, and there are ${table.questions}`}
          {...{ table, onPins }}
        />
        <Rule
          name={thresholdName(table.threshold_at ?? (restored ? 5 : -5))}
          names={table.threshold}
          none="only for the relative logit"
          {...{ table, onPins }}
        />
        <Rule
          name={`the top ${number} that ${restored ? 'restore the answer' : 'hurt when removed'}`}
          names={top}
          none=""
          {...{ table, onPins }}
        />
      </ul>
      <p class="faint">
        Two-sided studentised bootstrap over {plural(table.questions, 'distinct question')}; q is the smallest false
        discovery rate at which a component passes. An effect other than 0 need not be large: see the mean effect.
      </p>
      <div
        class="scroll"
        tabIndex={0}
        role="group"
        aria-label={`Components, the most ${restored ? 'positive' : 'negative'} first`}
      >
        <table>
          <thead>
            <tr>
              <th>Rank</th>
              <th>Component</th>
              <th class="number">Mean effect</th>
              <th class="number">p</th>
              <th class="number">q</th>
              <th>Key by</th>
            </tr>
          </thead>
          <tbody>
            {table.rows.slice(0, shown).map((row, i) => (
              <tr key={row.component}>
                <td class="number">{i + 1}</td>
                <td>
                  <ComponentButton name={row.component} onSelect={onSelect} />
                </td>
                <td class="number">{effect(row.mean, table.metric)}</td>
                <td class="number">{digits(row.p_value)}</td>
                <td class="number">{digits(row.q_value)}</td>
                <td>
                  {marks
                    .filter(([, names]) => names.has(row.component))
                    .map(([name]) => name)
                    .join(', ')}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="faint">
        <ShowMore shown={shown} all={table.rows.length} more={() => setShown(shown + 10 * STEP)} />{' '}
        <SaveCsv name={`${id}.key.${table.metric}.csv`} make={() => keyCsv(table)} />
      </p>
    </>
  );
}

const thresholdName = (at: number): string =>
  at > 0
    ? `above +${effect(at, 'relative_logit')} of the reference logit, the paper’s threshold with its sign reversed`
    : `below ${effect(at, 'relative_logit')} of the reference logit, as in the paper`;

const keyCsv = (table: KeyTable): string => {
  const [fdr, below] = [new Set(table.false_discovery ?? []), new Set(table.threshold ?? [])];
  const flag = (names: ReadonlySet<string>, all: unknown, name: string) => (all ? String(names.has(name)) : null);
  return csv(
    ['rank', 'component', 'metric', 'unit', 'mean', 'p_value', 'q_value', 'key_fdr', 'key_threshold', 'n_questions'],
    table.rows.map((row, i) => [
      i + 1,
      row.component,
      table.metric,
      table.unit,
      row.mean,
      row.p_value,
      row.q_value,
      flag(fdr, table.false_discovery, row.component),
      flag(below, table.threshold, row.component),
      table.questions,
    ]),
  );
};

function Rule({
  name,
  names,
  none,
  table,
  onPins,
}: {
  name: string;
  /** The components that the rule selects; null if it does not apply. */
  names: readonly string[] | null;
  none: string;
  table: KeyTable;
  onPins: KeyProps['onPins'];
}) {
  if (names === null) {
    return (
      <li>
        {name}: <span class="faint">{none}</span>
      </li>
    );
  }
  const { components, heads, share } = countHeads(names, table);
  return (
    <li>
      {name}: <strong>{plural(components.length, 'component')}</strong>, {heads} of {plural(table.heads, 'head')}
      {share !== null && ` (${percent(share)})`}{' '}
      {components.length > 0 && (
        <button
          type="button"
          class="quiet"
          onClick={() => onPins(components.flatMap((each) => parseComponent(each) ?? []))}
        >
          Pin<span class="unseen"> {name}</span>
        </button>
      )}
    </li>
  );
}
