// A list of experiments: what was asked, how far each is, and when it began.
import type { Experiment } from '../../api/wire';
import { page } from '../../root';
import { isFinal, progressLine, STATE_LABELS } from '../../text/experiment';
import { ago } from '../../text/numbers';
import { specTitle, nameOf, methodSummary } from '../../text/titles';
import { Link } from '../../ui/parts';

interface TableProps {
  items: readonly Experiment[];
  label: string;
  /** What the first column is called. */
  first?: string;
  /** A column of models, where they differ. */
  modelOf?: (item: Experiment) => string;
  /** A column of how they were computed, where that differs. */
  ways?: boolean;
}

export function ExperimentTable({ items, label, first = 'Experiment', modelOf, ways = true }: TableProps) {
  const now = new Date();
  if (items.length === 0) return null;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={label}>
      <table>
        <thead>
          <tr>
            <th>{first}</th>
            {modelOf && <th>Model</th>}
            {ways && <th>Method</th>}
            <th>State</th>
            <th>Created</th>
          </tr>
        </thead>
        <tbody>
          {items.map((item) => (
            <tr key={item.id}>
              <td>
                <Link to={page(`analyses/${item.id}`)} {...(item.name ? { title: specTitle(item.spec) } : {})}>
                  <bdi>{nameOf(item)}</bdi>
                </Link>
              </td>
              {modelOf && <td>{modelOf(item)}</td>}
              {ways && <td>{methodSummary(item.spec)}</td>}
              <td>
                <span class={`state state-${item.state}`}>
                  {isFinal(item.state) ? STATE_LABELS[item.state] : progressLine(item.state, item.progress)}
                </span>
              </td>
              <td class="faint">{ago(new Date(item.created_at), now)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
