// A table of experiments: title, method, state, and creation time.
import type { Experiment } from '../../api/wire';
import { page } from '../../root';
import { isFinal, progressLine, STATE_LABELS } from '../../text/experiment';
import { ago } from '../../text/numbers';
import { specTitle, nameOf, methodSummary } from '../../text/titles';
import { Link } from '../../ui/parts';

interface TableProps {
  items: readonly Experiment[];
  label: string;
  /** Heading of the first column. */
  first?: string;
  /** Adds a column of models, where they differ. */
  modelOf?: (item: Experiment) => string;
  /** Adds a column of methods, where they differ. */
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
