// The logit lens of one prompt: top tokens of each layer, and the rank of the answer.
import { getView } from '../../api/client';
import type { Schema } from '../../api/wire';
import { colourAt, attentionScale, css, inkOn } from '../../charts/colours';
import { shownPair } from '../../model/pairs';
import type { AnalysisPanel } from '../../panels';
import { digits, layerName, percent } from '../../text/numbers';
import { visible } from '../../text/tokens';
import { Computed } from '../../ui/computed';
import { useTheme } from '../../ui/theme';

type LensReport = Schema<'LensReport'>;

export const panel: AnalysisPanel = {
  name: 'lens',
  title: 'Logit lens',
  description: 'The top tokens of each layer for one prompt, and the rank of the answer.',
  order: 40,
  place: 'prompt',
  Panel: ({ id, result, view }) => {
    const prompt = shownPair(result, view.prompt)?.index ?? 0;
    return (
      <Computed of={`lens ${id} ${prompt}`} load={(signal) => getView<LensReport>(id, 'lens', signal, { prompt })}>
        {(report) => <LensTable report={report} />}
      </Computed>
    );
  },
};

function LensTable({ report }: { report: LensReport }) {
  const theme = useTheme();
  const columns = Math.max(0, ...report.layers.map(({ top }) => top.length));
  const answer = visible(report.answer);
  return (
    <div class="scroll lens" tabIndex={0} role="group" aria-label="Top tokens by layer">
      <table>
        <caption>
          Top tokens by layer, with their probability; the answer is <bdi class="mono">{answer}</bdi>
        </caption>
        <thead>
          <tr>
            <th>Layer</th>
            <th class="number">Answer’s rank</th>
            <th class="number">Answer’s probability</th>
            <th class="number">Answer’s logit</th>
            {Array.from({ length: columns }, (_, i) => (
              <th key={i}>{i === 0 ? 'Top token' : i + 1}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {report.layers.map((layer) => (
            <tr key={layer.layer}>
              <th scope="row">{layerName(layer.layer)}</th>
              <td class="number">{layer.rank.toLocaleString('en')}</td>
              <td class="number">{percent(layer.probability)}</td>
              <td class="number">{digits(layer.logit)}</td>
              {Array.from({ length: columns }, (_, i) => {
                const token = layer.top[i];
                if (!token) return <td key={i} />;
                const colour = colourAt(attentionScale(theme), token.probability);
                return (
                  <td
                    key={i}
                    class={`lens-token${token.token === report.answer ? ' is-answer' : ''}`}
                    style={{ background: css(colour), color: inkOn(colour) }}
                  >
                    <bdi class="mono">{visible(token.token)}</bdi>{' '}
                    <span class="number">{percent(token.probability)}</span>
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
