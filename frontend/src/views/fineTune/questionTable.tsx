// Held-out questions one by one, with the model's answers before and after. All of it is untrusted text.
import { useState } from 'preact/hooks';
import type { Evaluation, Outcome } from '../../api/fineTune';
import { CHOICES } from '../../api/vocabulary';
import { OUTCOMES, promptsOf } from '../../model/fineTuneReport';
import { lastLine, visible } from '../../text/tokens';
import { ShowMore } from '../../ui/tables';

const STEP = 25;

export function QuestionPanel({ evaluation: { held_out: held, prompts } }: { evaluation: Evaluation }) {
  const [outcome, setOutcome] = useState<Outcome | null>(held.fixed + held.broken > 0 ? 'fixed' : null);
  const [shown, setShown] = useState(STEP);
  const rows = promptsOf(prompts, outcome);
  const choose = (next: Outcome | null) => {
    setOutcome(next);
    setShown(STEP);
  };
  return (
    <section class="panel" aria-label="Question by question">
      <h2>Question by question</h2>
      <div class="chips" role="group" aria-label="Which questions">
        <button type="button" class="quiet" aria-pressed={outcome === null} onClick={() => choose(null)}>
          all {held.n.toLocaleString('en')}
        </button>
        {OUTCOMES.map((each) => (
          <button key={each} type="button" class="quiet" aria-pressed={outcome === each} onClick={() => choose(each)}>
            {CHOICES.Outcome[each].label} {held[each].toLocaleString('en')}
          </button>
        ))}
      </div>
      {rows.length === 0 ? (
        <p class="faint" role="status">
          None{outcome !== null && `: ${CHOICES.Outcome[outcome].label}`}
          {prompts.length < held.n && ', among those listed'}.
        </p>
      ) : (
        <div class="scroll" tabIndex={0} role="group" aria-label="Held-out questions">
          <table>
            <thead>
              <tr>
                <th>Question</th>
                <th>Answer</th>
                <th>Model before</th>
                <th>Model after</th>
                <th>Outcome</th>
              </tr>
            </thead>
            <tbody>
              {rows.slice(0, shown).map((row, i) => (
                <tr key={i}>
                  <th scope="row" class="mono question">
                    <bdi>{visible(lastLine(row.reference))}</bdi>
                  </th>
                  <TextCell text={row.answer} />
                  <TextCell text={row.before} />
                  <TextCell text={row.after} />
                  <td>{CHOICES.Outcome[row.outcome].label}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <p class="faint">
        <ShowMore shown={shown} all={rows.length} more={() => setShown(shown + 4 * STEP)} />{' '}
        {prompts.length < held.n &&
          `The first ${prompts.length} of ${held.n.toLocaleString('en')} are listed; all are in judged.csv.`}
      </p>
    </section>
  );
}

const TextCell = ({ text }: { text: string }) => (
  <td class="mono">
    <bdi>{visible(text)}</bdi>
  </td>
);
