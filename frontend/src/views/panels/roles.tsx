// Attention from END by role, compared with the average head and with chance.
import { useMemo, useState } from 'preact/hooks';
import { getView } from '../../api/client';
import { sameComponent, componentName, parseComponent } from '../../model/component';
import {
  averageHead,
  roleRows,
  roleTable,
  type AttendedPart,
  type HeadClass,
  type RoleReport,
  type RoleSort,
} from '../../model/roleTable';
import type { AnalysisPanel, PanelProps } from '../../panels';
import { csv } from '../../text/csv';
import { digits, effect, percent, plural } from '../../text/numbers';
import { ROLE_NAMES } from '../../text/tokens';
import { Select } from '../../ui/fields';
import { Computed } from '../../ui/computed';
import { SaveCsv, ShowMore } from '../../ui/tables';
import { ComponentButton } from '../../ui/componentButton';

export const panel: AnalysisPanel = {
  name: 'roles',
  title: 'What heads attend to',
  description: 'How much attention each head pays to the operands and the operator, compared with chance.',
  order: 20,
  Panel: (props) => (
    <Computed of={`roles ${props.id}`} load={(signal) => getView<RoleReport>(props.id, 'roles', signal)}>
      {(report) => <Heads report={report} {...props} />}
    </Computed>
  ),
};

const STEP = 30;
const CLASS_NAMES: Record<HeadClass, string> = { operand: 'operand head', operator: 'operator head', neither: '–' };
const SORTS: readonly (readonly [RoleSort, string])[] = [
  ['effect', 'effect'],
  ['mass', 'attention'],
  ['difference', 'difference from the counterfactual'],
  ['component', 'layer'],
];

function Heads({ report, id, table, selected, onSelect }: PanelProps & { report: RoleReport }) {
  const [looked, setLooked] = useState<AttendedPart>('operands');
  const [sort, setSort] = useState<RoleSort>('effect');
  const [headClass, setHeadClass] = useState<HeadClass | 'all'>('all');
  const [shown, setShown] = useState(STEP);
  const rows = useMemo(() => roleRows(report, table, looked, sort), [report, table, looked, sort]);
  const listed = rows.filter((row) => headClass === 'all' || row.headClass === headClass);
  const count = (which: HeadClass) => rows.filter((row) => row.headClass === which).length;
  const labels: readonly (readonly [AttendedPart, string])[] = [
    ['operands', 'both operands'],
    ...report.roles.map((role) => [role, ROLE_NAMES[role]] as const),
  ];
  return (
    <>
      <p>
        <strong>{plural(count('operand'), 'operand head')}</strong> and{' '}
        <strong>{plural(count('operator'), 'operator head')}</strong> among {rows.length}: heads that pay the operands,
        or the operator, at least {report.times} times the attention that chance and the average head do.
      </p>
      <div class="row">
        <Select label="Attention from END to" value={looked} choices={labels} choose={setLooked} />
        <Select label="Sort by" value={sort} choices={SORTS} choose={setSort} />
        <Select
          label="Heads"
          value={headClass}
          choices={[
            ['all', 'all'],
            ['operand', 'operand heads'],
            ['operator', 'operator heads'],
            ['neither', 'neither'],
          ]}
          choose={setHeadClass}
        />
      </div>
      <p class="faint">
        Mean over {plural(report.prompts, 'prompt')}. The average head pays {percent(averageHead(report, looked))} to{' '}
        {labels.find(([each]) => each === looked)?.[1]}. Chance: roles assigned to the tokens at random, except to the
        first token. Difference: reference run minus counterfactual run.
        {looked === 'operands' && ' There is no interval for both operands together: choose one of them.'}
      </p>
      {listed.length === 0 ? (
        <p class="faint">No head belongs to this class.</p>
      ) : (
        <div class="scroll" tabIndex={0} role="group" aria-label="Heads by attention">
          <table>
            <thead>
              <tr>
                <th>Head</th>
                <th>Class</th>
                <th class="number">Effect</th>
                <th class="number">Attention</th>
                <th class="number">95 % interval</th>
                <th class="number">Chance</th>
                <th class="number">Difference</th>
              </tr>
            </thead>
            <tbody>
              {listed.slice(0, shown).map((row) => (
                <tr
                  key={row.component}
                  aria-current={sameComponent(parseComponent(row.component), selected) ? 'true' : undefined}
                >
                  <td>
                    <ComponentButton name={row.component} onSelect={onSelect} />
                  </td>
                  <td>{CLASS_NAMES[row.headClass]}</td>
                  <td class="number">{effect(row.effect, table.metric)}</td>
                  <td class="number">{percent(row.mass)}</td>
                  <td class="number">
                    {row.low === null || row.high === null ? '–' : `${percent(row.low)} to ${percent(row.high)}`}
                  </td>
                  <td class="number">{percent(row.baseline)}</td>
                  <td class="number">{points(row.difference)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <p class="faint">
        <ShowMore shown={shown} all={listed.length} more={() => setShown(shown + 10 * STEP)} />{' '}
        <SaveCsv
          name={`${id}.roles.csv`}
          make={() => {
            const { head, rows: cells } = roleTable(report, table);
            return csv(head, cells);
          }}
        />
      </p>
      {selected && selected.head !== null && <OneHead report={report} component={componentName(selected)} />}
    </>
  );
}

/** A difference of shares in percentage points: "+3.1", "−0.4". */
const points = (share: number): string => `${share > 0 ? '+' : ''}${digits(100 * share)} pp`;

/** The selected head: all parts of the prompt with their controls. */
function OneHead({ report, component }: { report: RoleReport; component: string }) {
  const head = report.heads.find((each) => each.component === component);
  if (!head) return null;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={`All parts of the prompt, ${component}`}>
      <table class="one-head">
        <caption>{component}: attention from END by part of the prompt</caption>
        <thead>
          <tr>
            <th>Part</th>
            <th class="number">Attention</th>
            <th class="number">95 % interval</th>
            <th class="number">Average head</th>
            <th class="number">Chance</th>
            <th class="number">Difference</th>
          </tr>
        </thead>
        <tbody>
          {report.roles.map((role, i) => {
            const [low, high] = [head.ci_low[i] ?? null, head.ci_high[i] ?? null];
            return (
              <tr key={role}>
                <th scope="row">{ROLE_NAMES[role]}</th>
                <td class="number">{percent(head.mass[i] ?? 0)}</td>
                <td class="number">{low === null || high === null ? '–' : `${percent(low)} to ${percent(high)}`}</td>
                <td class="number">{percent(report.average_head[i] ?? 0)}</td>
                <td class="number">{percent(head.baseline[i] ?? 0)}</td>
                <td class="number">{points(head.difference[i] ?? 0)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
