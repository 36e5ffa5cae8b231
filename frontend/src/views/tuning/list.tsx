// What was tuned of the components of an analysis, newest first, with the way to more.
import { childrenOf } from '../../api/client';
import type { Result } from '../../api/wire';
import { spell, type Component } from '../../model/component';
import { tuneFrom } from '../../model/tuneAddress';
import { page } from '../../root';
import { isFinal, progressLine, STATE_WORDS } from '../../text/experiment';
import { ago } from '../../text/numbers';
import { asked, DEFAULT_TOP_K, listWords, nameOf } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Link, TroubleBlock } from '../../ui/parts';
import { useChanges } from '../../ui/undo';

export function Tunings({ id, result, pins }: { id: string; result: Result; pins: readonly Component[] }) {
  const list = useLoad(`tunings ${id}`, (signal) => childrenOf(id, signal), 10_000);
  useChanges(list.again);
  const items = (list.data?.items ?? []).filter(({ kind }) => kind === 'fine_tune');
  const names = pins.map(spell);
  const to = (components: readonly string[]) => page(tuneFrom({ id, model: result.model.id }, components));
  const now = new Date();
  return (
    <>
      {list.trouble && !list.data && <TroubleBlock problem={list.trouble} />}
      {list.data && items.length === 0 && <p class="faint">Nothing was tuned yet.</p>}
      {items.length > 0 && (
        <div class="scroll" tabIndex={0} role="group" aria-label="Fine-tunings of this analysis">
          <table>
            <thead>
              <tr>
                <th>Asked</th>
                <th>State</th>
                <th>Started</th>
              </tr>
            </thead>
            <tbody>
              {items.map((item) => (
                <tr key={item.id}>
                  <td>
                    <Link to={page(`analyses/${item.id}`)} {...(item.name ? { title: asked(item.spec) } : {})}>
                      <bdi>{nameOf(item)}</bdi>
                    </Link>
                  </td>
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
      <p class="row">
        {names.length > 0 && (
          <Link to={to(names)} class="button">
            Fine-tune {names.length === 1 ? names[0] : `the pins (${listWords(names)})`}
          </Link>
        )}
        <Link to={to([])} class="button">
          Fine-tune the top {DEFAULT_TOP_K}
        </Link>
      </p>
    </>
  );
}
