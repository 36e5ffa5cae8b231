// Evaluation before and after: the trained task, other arithmetic, and text without arithmetic.
import type { Evaluation, Interval, Judged, Neutral } from '../../api/fineTune';
import { grouped } from '../../model/fineTuneReport';
import { digits, glyph, percent, plural } from '../../text/numbers';
import { includesZero, pointRange, points, range, share, shareRange } from '../../text/fineTune';

const GROUPS: Record<Judged['group'], string> = {
  held_out: 'Held out: the trained task on other operands',
  arithmetic: 'Other arithmetic',
  control: 'No arithmetic',
};

export function EvaluationPanel({ evaluation }: { evaluation: Evaluation }) {
  const { held_out: held, neutral } = evaluation;
  return (
    <section class="panel judged" aria-label="Before and after">
      <h2>Before and after</h2>
      <p class="headline" data-testid="held-out">
        Held-out questions answered correctly: <strong>{share(held.before.mean)}</strong>{' '}
        <span class="faint">({shareRange(held.before)})</span> before, <strong>{share(held.after.mean)}</strong>{' '}
        <span class="faint">({shareRange(held.after)})</span> after. <Change change={held.change} /> n ={' '}
        {held.n.toLocaleString('en')}.
      </p>
      <div class="scroll" tabIndex={0} role="group" aria-label="Before and after, set by set">
        <table>
          <thead>
            <tr>
              <th>Questions</th>
              <th class="number">n</th>
              <th class="number">Correct before</th>
              <th class="number">Correct after</th>
              <th class="number">Change, points (95 %)</th>
              <th class="number">Fixed</th>
              <th class="number">Broken</th>
              <th class="number" title="Mean log-probability of the whole answer, in nats">
                Log-probability
              </th>
              <th class="number" title="KL(before || after) of the answer’s first token, in nats">
                KL
              </th>
            </tr>
          </thead>
          {grouped(evaluation).map(([group, sets]) => (
            <tbody key={group}>
              <tr class="group">
                <th scope="rowgroup" colSpan={9}>
                  {GROUPS[group]}
                </th>
              </tr>
              {sets.map((set) => (
                <Row key={set.name} set={set} />
              ))}
            </tbody>
          ))}
        </table>
      </div>
      <p class="faint">
        An answer is correct if each of its tokens is the model’s top prediction, given the tokens before it. Intervals:
        95 % bootstrap over distinct questions; that of the change over the same questions. Greyed: the interval of the
        change covers 0. KL(before || after): of the answer’s first token, in nats.
      </p>
      <NeutralText neutral={neutral} />
    </section>
  );
}

function Row({ set }: { set: Judged }) {
  return (
    <tr class={includesZero(set.change) ? 'uncertain' : ''}>
      <th scope="row">
        <bdi>{set.name}</bdi>
      </th>
      <td class="number">{set.n.toLocaleString('en')}</td>
      <td class="number">
        {share(set.before.mean)} <small>{shareRange(set.before)}</small>
      </td>
      <td class="number">
        {share(set.after.mean)} <small>{shareRange(set.after)}</small>
      </td>
      <td class="number">
        <Sign value={set.change.mean} /> {points(set.change.mean)} <small>{pointRange(set.change)}</small>
      </td>
      <td class="number">{set.fixed.toLocaleString('en')}</td>
      <td class="number">{set.broken.toLocaleString('en')}</td>
      <td class="number">
        {digits(set.log_probability_before)} → {digits(set.log_probability_after)}
      </td>
      <td class="number">{digits(set.divergence)}</td>
    </tr>
  );
}

/** Better or worse by glyph and word, not by colour alone. */
function Sign({ value }: { value: number }) {
  return (
    <span class={`sign ${value < 0 ? 'hurts' : value > 0 ? 'helps' : ''}`}>
      <span aria-hidden="true">{glyph(value)}</span>
      <span class="unseen">{value < 0 ? 'worse by' : value > 0 ? 'better by' : 'as before'}</span>
    </span>
  );
}

function Change({ change }: { change: Interval }) {
  return (
    <>
      <Sign value={change.mean} /> {points(change.mean)} points{' '}
      <span class="faint">
        ({includesZero(change) ? 'the interval covers 0: ' : ''}
        {pointRange(change)})
      </span>
      ,
    </>
  );
}

function NeutralText({ neutral }: { neutral: Neutral }) {
  const facts: readonly (readonly [string, string, Interval])[] = [
    ['perplexity before', digits(neutral.before.mean), neutral.before],
    ['perplexity after', digits(neutral.after.mean), neutral.after],
    ['ratio, after / before', digits(neutral.ratio.mean), neutral.ratio],
    ['KL of the next token, nats', digits(neutral.divergence.mean), neutral.divergence],
  ];
  const worse = neutral.ratio.mean - 1;
  return (
    <section class="neutral" aria-label="Plain text">
      <h3>Plain text without arithmetic</h3>
      <dl>
        {facts.map(([name, value, interval]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              {value} <small class="faint">{range(interval)}</small>
            </dd>
          </div>
        ))}
      </dl>
      <p class="faint">
        {plural(neutral.passages, 'passage')}, {plural(neutral.tokens, 'token')}.{' '}
        {worse > 0 ? `Its perplexity rose by ${percent(worse)}.` : 'Its perplexity did not rise.'}
      </p>
    </section>
  );
}
