// Sanity checks of a knock-out: its prompts, dropped pairs, and how the numbers were verified.
import type { KnockoutResult } from '../../api/results';
import { digits, duration, percent, plural } from '../../text/numbers';
import { visible } from '../../text/tokens';
import { Notice } from '../../ui/parts';

export function KnockoutChecks({ result }: { result: KnockoutResult }) {
  const { checks, dropped, provenance } = result;
  const plain = result.curves.accuracy?.mean[0] ?? null;
  return (
    <section class="sanity" aria-label="Sanity checks">
      {result.shared_questions > 0 && (
        <Notice tone="warn">
          {plural(result.shared_questions, 'pair')} of {result.n_pairs} use operands that the components were found on,
          which makes the components look more important than they are.
        </Notice>
      )}
      {plain !== null && plain < 0.5 && (
        <Notice tone="warn">
          With nothing removed the model answers only {percent(plain)} of these prompts correctly: there is little left
          to lose.
        </Notice>
      )}
      {result.unmatched > 0 && (
        <Notice>
          {plural(result.unmatched, 'component')} of the random controls come from other layers, or are chosen
          components themselves: their layers have no others.
        </Notice>
      )}
      <dl>
        <div>
          <dt>pairs</dt>
          <dd>
            {result.n_pairs} of {result.n_asked}
          </dd>
        </div>
        <div>
          <dt>correct with nothing removed</dt>
          <dd>{plain === null ? 'n/a' : percent(plain)}</dd>
        </div>
        <div title="Largest |logit with nothing removed − logit of an ordinary run|">
          <dt>noise floor</dt>
          <dd>{digits(checks.noise_floor)}</dd>
        </div>
        <div
          title={`${plural(checks.spot_check_points, 'point')} of the curve on ${plural(checks.spot_check_pairs, 'pair')}, each by one ordinary forward pass`}
        >
          <dt>spot check error</dt>
          <dd>{digits(checks.spot_check_error)}</dd>
        </div>
      </dl>
      <details class="fold">
        <summary>How these numbers were checked</summary>
        <div class="checked">
          <p>
            With nothing removed, the logit differs from that of an ordinary run by at most {digits(checks.noise_floor)}{' '}
            logits.{' '}
            {checks.spot_check_points > 0 &&
              `${plural(checks.spot_check_points, 'point')} of the curve were recomputed with one ordinary forward pass per pair, on ${plural(checks.spot_check_pairs, 'pair')}: the largest difference is ${digits(checks.spot_check_error)} logits.`}
          </p>
          <p class="faint">
            {provenance.dtype} on {provenance.device}, PyTorch {provenance.torch}, {duration(provenance.seconds)},
            prompts {provenance.prompt_set_hash.slice(0, 12)}, arithmoscope {provenance.code_version}.
          </p>
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
      {result.notes.map((note) => (
        <p class="faint" key={note}>
          {note}
        </p>
      ))}
    </section>
  );
}
