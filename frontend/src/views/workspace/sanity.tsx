// The sanity strip: whether the model solves the task, dropped pairs, and how the numbers were verified.
import type { Metric, Result } from '../../api/wire';
import { digits, duration, mean, plural } from '../../text/numbers';
import { visible } from '../../text/tokens';
import { Notice } from '../../ui/parts';

export function Sanity({ result, metric }: { result: Result; metric: Metric }) {
  const { pairs, dropped, checks, n_correct: right } = result;
  const tried = pairs.length + dropped.length;
  const reference = mean(pairs.map((pair) => pair.reference_logit));
  const counterfactual = mean(pairs.map((pair) => pair.counterfactual_logit));
  const leftOut = result.metrics[metric]?.left_out ?? 0;
  const wrong = pairs.filter((pair) => !pair.correct);
  return (
    <section class="sanity" aria-label="Sanity checks">
      {wrong.length > 0 && (
        <Notice tone="warn">
          {pairs.length === 1 ? (
            <>
              The model answers <bdi class="mono">{visible(pairs[0]?.top ?? '')}</bdi>, not{' '}
              <bdi class="mono">{visible(pairs[0]?.answer ?? '')}</bdi>: the map shows what affects the logit of the
              correct answer, not how the model gets it right.
              {result.spec.prompts.shots === 0 && ' Worked examples before the prompt often help.'}
            </>
          ) : (
            `The model answers ${wrong.length} of these ${pairs.length} prompts wrongly; they are included in the effects.`
          )}
        </Notice>
      )}
      <dl>
        <Fact name="answered correctly" value={`${right} of ${tried}`} />
        <Fact name="mean reference logit" value={reference === null ? 'n/a' : digits(reference)} />
        <Fact name="mean counterfactual logit" value={counterfactual === null ? 'n/a' : digits(counterfactual)} />
        <Fact
          name="noise floor"
          value={digits(checks.noise_floor)}
          title="Largest effect, in logits, of a control that patches nothing"
        />
        <Fact
          name="spot check error"
          value={digits(checks.spot_check_error)}
          title={`${checks.spot_check.join(', ')} recomputed by brute force on ${plural(checks.spot_check_pairs, 'pair')}: largest difference, in logits`}
        />
      </dl>
      <details class="fold">
        <summary>How these numbers were checked</summary>
        <div class="checked">
          <p>
            A control that patches nothing moved the answer’s logit by at most {digits(checks.noise_floor)} logits.{' '}
            {checks.spot_check.length > 0 &&
              `${checks.spot_check.join(', ')} were recomputed by brute force on ${plural(checks.spot_check_pairs, 'pair')}: the largest difference is ${digits(checks.spot_check_error)} logits.`}
          </p>
          <p class="faint">{provenanceLine(result)}</p>
        </div>
      </details>
      {dropped.length > 0 && (
        <details class="fold">
          <summary>{plural(dropped.length, 'pair')} dropped</summary>
          <ul class="dropped" tabIndex={0} aria-label="Dropped pairs">
            {dropped.slice(0, 200).map((pair) => (
              <li key={pair.index}>
                <bdi class="mono">{visible(pair.reference.split('\n').at(-1) ?? '')}</bdi>{' '}
                <span class="faint">{pair.reason}</span>
              </li>
            ))}
            {dropped.length > 200 && <li class="faint">and {dropped.length - 200} more, all in the JSON result</li>}
          </ul>
        </details>
      )}
      {leftOut > 0 && (
        <p class="faint">{plural(leftOut, 'pair')} left out of this metric: its value is not defined there.</p>
      )}
      {result.notes.map((note) => (
        <p class="faint" key={note}>
          {note}
        </p>
      ))}
    </section>
  );
}

/** Provenance in one line. */
function provenanceLine({ provenance, model, n_asked: requested }: Result): string {
  // A plan's sizes are powers of two and may exceed what there is.
  const all = model.layers * (model.heads + 1);
  const cuts = [
    provenance.plan && plural(Math.min(provenance.plan.pairs, requested), 'pair'),
    provenance.plan?.components && plural(Math.min(provenance.plan.components, all), 'component'),
  ].filter(Boolean);
  const plan = cuts.length ? `, up to ${cuts.join(' and ')} at once` : '';
  return `${provenance.dtype} on ${provenance.device}, PyTorch ${provenance.torch}, ${duration(provenance.seconds)}${plan}.`;
}

function Fact({ name, value, title }: { name: string; value: string; title?: string }) {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
