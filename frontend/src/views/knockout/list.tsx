// What was asked about the components of an analysis: its knock-outs and transfers, newest first, with the way to more.
// Its fine-tunings have a list of their own.
import { childrenOf } from '../../api/client';
import type { Metric, Result } from '../../api/wire';
import type { Component } from '../../model/component';
import { page } from '../../root';
import { isFinal, progressLine, STATE_WORDS } from '../../text/experiment';
import { ago } from '../../text/numbers';
import { asked, nameOf, wayWords } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Link, TroubleBlock } from '../../ui/parts';
import { useChanges } from '../../ui/undo';
import { KnockForm } from './form';

interface KnockoutsProps {
  id: string;
  result: Result;
  metric: Metric;
  pins: readonly Component[];
}

export function Knockouts({ id, result, metric, pins }: KnockoutsProps) {
  const list = useLoad(`children ${id}`, (signal) => childrenOf(id, signal), 10_000);
  useChanges(list.again);
  const items = (list.data?.items ?? []).filter(({ kind }) => kind !== 'fine_tune');
  const now = new Date();
  return (
    <>
      {list.trouble && !list.data && <TroubleBlock problem={list.trouble} />}
      {list.data && items.length === 0 && <p class="faint">Nothing was knocked out yet.</p>}
      {items.length > 0 && (
        <div class="scroll" tabIndex={0} role="group" aria-label="Knock-outs of this analysis">
          <table>
            <thead>
              <tr>
                <th>Asked</th>
                <th>How</th>
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
                  <td>{wayWords(item.spec)}</td>
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
      <KnockForm id={id} result={result} metric={metric} pins={pins} />
      <p class="faint">
        Do these heads matter on other kinds of prompts?{' '}
        <Link to={page(`transfer?model=${encodeURIComponent(result.model.id)}&parent=${encodeURIComponent(id)}`)}>
          Transfer
        </Link>
      </p>
    </>
  );
}
