// The direct contribution of the selected component at END to the logits of number tokens.
import { useEffect, useState } from 'preact/hooks';
import { writesReport } from '../../api/client';
import type { WritesReport } from '../../api/results';
import { componentName, type Component } from '../../model/component';
import { digits, glyph, plural } from '../../text/numbers';
import { visible } from '../../text/tokens';
import { Computed } from '../../ui/computed';

export function Writes({ id, component }: { id: string; component: Component }) {
  const name = componentName(component);
  const [open, setOpen] = useState(false);
  // A worker computes it, so it is requested again only when it is unfolded for another component.
  useEffect(() => setOpen(false), [id, name]);
  return (
    <details class="fold" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Number tokens it promotes and suppresses</summary>
      {open && (
        <div>
          <Computed of={`writes ${id} ${name}`} load={(signal) => writesReport(id, name, signal)}>
            {(report) => <TokenTables report={report} />}
          </Computed>
        </div>
      )}
    </details>
  );
}

function TokenTables({ report }: { report: WritesReport }) {
  return (
    <>
      <p class="faint">
        Direct contribution of {report.component} to the logit of each number token: mean over{' '}
        {plural(report.prompts, 'prompt')}, minus the mean over all tokens. For the answer itself:{' '}
        <strong>{digits(report.answer)}</strong>.
      </p>
      <div class="two">
        <Tokens name="Promoted" tokens={report.promoted} />
        <Tokens name="Suppressed" tokens={report.suppressed} />
      </div>
    </>
  );
}

function Tokens({ name, tokens }: { name: string; tokens: WritesReport['promoted'] }) {
  return (
    <table>
      <caption>{name}</caption>
      <thead>
        <tr>
          <th>Token</th>
          <th class="number">Logit</th>
        </tr>
      </thead>
      <tbody>
        {tokens.map(({ token, logit }, i) => (
          <tr key={i}>
            <td>
              <bdi class="mono">{visible(token)}</bdi>
            </td>
            <td class="number">
              <span class={`sign ${logit < 0 ? 'hurts' : 'helps'}`} aria-hidden="true">
                {glyph(logit)}
              </span>{' '}
              {digits(logit)}
            </td>
          </tr>
        ))}
        {tokens.length === 0 && (
          <tr>
            <td class="faint" colSpan={2}>
              none
            </td>
          </tr>
        )}
      </tbody>
    </table>
  );
}
