// The training curve: loss at every step, and the validations.
import type { TrainingCurve } from '../../api/fineTune';
import type { Theme } from '../../charts/colours';
import { LINE } from '../../charts/lines';
import { curveRows } from '../../model/fineTuneReport';
import { digits } from '../../text/numbers';
import { share } from '../../text/fineTune';
import { Curves, type Chart } from '../../ui/curves';

function lossChart(curve: TrainingCurve, theme: Theme): Chart {
  const { x, loss, validated } = curveRows(curve);
  return {
    curves: [
      { name: 'training', y: loss, colour: LINE[theme].main },
      { name: 'validation', y: validated, colour: LINE[theme].second, dash: 'dash', sparse: true },
    ],
    options: { x, xName: 'step', yName: 'nats' },
  };
}

function accuracyChart(curve: TrainingCurve, theme: Theme): Chart {
  const { x, accuracy } = curveRows(curve);
  return {
    curves: [{ name: 'validation', y: accuracy, colour: LINE[theme].second, dash: 'dash', sparse: true }],
    options: { x, xName: 'step', yName: 'share', yRange: [-0.03, 1.03] },
  };
}

export function TrainingPanel({ curve, live }: { curve: TrainingCurve; live: boolean }) {
  const [step, loss] = [curve.steps.at(-1), curve.losses.at(-1)];
  const seen = curve.validation.at(-1);
  return (
    <section class="panel" aria-label="Training">
      <h2>{live ? 'Training so far' : 'Training'}</h2>
      <p data-testid="training">
        Step {step}: loss {digits(loss ?? null)}
        {seen &&
          `; validation after step ${seen.step}: ${share(seen.accuracy)} answered correctly, loss ${digits(seen.loss)}`}
        .
      </p>
      <div class="figures">
        <Curves title="Loss, nats per answer token" data={curve} draw={lossChart} />
        <Curves title="Validation questions answered correctly" data={curve} draw={accuracyChart} />
      </div>
      {curve.validation.length > 0 && (
        <details class="fold">
          <summary>Validation as a table</summary>
          <div class="scroll" tabIndex={0} role="group" aria-label="Validations">
            <table>
              <thead>
                <tr>
                  <th class="number">Step</th>
                  <th class="number">Answered correctly</th>
                  <th class="number">Loss</th>
                </tr>
              </thead>
              <tbody>
                {curve.validation.map((each) => (
                  <tr key={each.step}>
                    <th scope="row" class="number">
                      {each.step}
                    </th>
                    <td class="number">{share(each.accuracy)}</td>
                    <td class="number">{digits(each.loss)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </details>
      )}
    </section>
  );
}
