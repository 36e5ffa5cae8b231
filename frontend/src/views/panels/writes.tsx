// The direct contribution of the selected component at END to the logits of number tokens.
import { getView } from '../../api/client';
import type { Schema } from '../../api/wire';
import { componentName } from '../../model/component';
import type { AnalysisPanel } from '../../panels';
import { digits, glyph, plural } from '../../text/numbers';
import { visible } from '../../text/tokens';
import { Computed } from '../../ui/computed';

type WritesReport = Schema<'WritesReport'>;

export const panel: AnalysisPanel = {
  name: 'writes',
  title: 'Number tokens it promotes and suppresses',
  description: 'The direct contribution of a component to the logits of number tokens.',
  order: 50,
  place: 'component',
  Panel: ({ id, selected }) => {
    const component = selected && componentName(selected);
    return (
      component && (
        <Computed
          of={`writes ${id} ${component}`}
          load={(signal) => getView<WritesReport>(id, 'writes', signal, { component })}
        >
          {(report) => <TokenTables report={report} />}
        </Computed>
      )
    );
  },
};

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
