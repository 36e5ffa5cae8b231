// The newest analyses.
import type { ExperimentList } from '../../api/wire';
import { optionsOf, shortWords } from '../../model/options';
import { page } from '../../root';
import { isFinal, progressLine, STATE_WORDS, title } from '../../text/experiment';
import { ago } from '../../text/numbers';
import type { Loaded } from '../../ui/hooks';
import { Link, TroubleBlock } from '../../ui/parts';

export function Recent({ list }: { list: Loaded<ExperimentList> }) {
  const now = new Date();
  const items = list.data?.items ?? [];
  return (
    <section class="recent" aria-label="Recent analyses">
      <h2>Recent analyses</h2>
      {list.trouble && !list.data && <TroubleBlock problem={list.trouble} />}
      {list.data && items.length === 0 && <p class="faint">None yet. The prompt above is ready to run.</p>}
      {items.length > 0 && (
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th>Analysis</th>
                <th>Model</th>
                <th>Effect</th>
                <th>State</th>
                <th>Started</th>
              </tr>
            </thead>
            <tbody>
              {items.map((item) => (
                <tr key={item.id}>
                  <td>
                    <Link to={page(`analyses/${item.id}`)}>
                      <bdi>{title(item.spec)}</bdi>
                    </Link>
                  </td>
                  <td>{item.spec.model}</td>
                  <td>{shortWords(optionsOf(item.spec))}</td>
                  <td>
                    <span class={`state state-${item.state}`}>
                      {isFinal(item.state) ? STATE_WORDS[item.state] : progressLine(item.state, item.progress)}
                    </span>
                  </td>
                  <td class="faint">{ago(new Date(item.created_at), now)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
