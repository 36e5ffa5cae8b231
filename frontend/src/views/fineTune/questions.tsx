// The questions to train and test on.
import type { ModelCard, Spec } from '../../api/wire';
import { analysisFormUrl, prefillForm } from '../../model/prefill';
import { EMPTY_CUSTOM } from '../../model/customPrompts';
import { setDraftOf } from '../../model/promptSet';
import {
  questionSourceOf,
  isTrainable,
  TWO_DIGITS,
  type QuestionSource,
  type ParentAnalysis,
} from '../../model/fineTuneForm';
import { setName } from '../../model/transferForm';
import { optionsOf } from '../../model/patchingOptions';
import { navigate } from '../../nav';
import { page } from '../../root';
import { FileOptions } from '../prompts/file';
import { Radio, SHOTS } from '../knockout/form';
import { NumberField, Select } from '../prompts/choices';
import { SetOptions } from '../prompts/set';
import type { FineTuneFormProps } from './formProps';

interface QuestionsProps extends FineTuneFormProps {
  origin: ParentAnalysis | null;
  card: ModelCard | null;
  /** The spec of the analysis that the components come from. */
  parent: Spec | null;
}

const NAMES: Record<QuestionSource, string> = {
  analysis: 'those of the analysis, and more like them',
  two_digits: 'two-digit addition and subtraction',
  set: 'another set',
  file: 'prompts from a file',
};

export function Questions({ draft, change, origin, card, parent }: QuestionsProps) {
  const from = questionSourceOf(draft, origin);
  const prompts = origin?.prompts;
  const offered = (['analysis', 'two_digits', 'set', 'file'] as const).filter(
    (each) => each !== 'analysis' || (prompts !== undefined && isTrainable(prompts)),
  );
  // A predefined set can be turned into a custom one and edited.
  const named = from === 'analysis' && prompts?.source === 'template' ? setDraftOf(prompts) : TWO_DIGITS;
  const fixed = from === 'analysis' && prompts?.source === 'custom';
  return (
    <>
      <fieldset class="choices">
        <legend>Training questions</legend>
        {offered.map((each) => (
          <Radio key={each} name="from" checked={from === each} pick={() => change({ from: each })}>
            {NAMES[each]}
          </Radio>
        ))}
      </fieldset>
      {from === 'set' && (
        <SetOptions draft={draft.set} trained change={(part) => change({ set: { ...draft.set, ...part } })} />
      )}
      {from === 'file' && (
        <FileOptions draft={draft.own} trained change={(part) => change({ own: { ...draft.own, ...part } })} />
      )}
      <div class="row">
        {(from === 'two_digits' || from === 'analysis') && !fixed && (
          <NumberField label="Questions" value={draft.pairs} change={(pairs) => change({ pairs })} />
        )}
        <Select
          label="Worked examples"
          value={draft.shots.trim()}
          choices={[['', from === 'analysis' ? 'same as the analysis' : 'as the model needs'], ...SHOTS]}
          choose={(shots) => change({ shots })}
        />
        {card?.chat && (
          <label class="check">
            <input
              type="checkbox"
              checked={draft.chat}
              onChange={(event) => change({ chat: event.currentTarget.checked })}
            />
            Chat template
          </label>
        )}
      </div>
      {(from === 'two_digits' || from === 'analysis') && !fixed && (
        <p class="faint">
          {setName({ ...named, half: null })}{' '}
          <button
            type="button"
            class="quiet"
            onClick={() =>
              change({
                from: 'set',
                set: { ...named, pairs: draft.pairs, half: null, answerTokens: 'whole', keepWrong: true },
              })
            }
          >
            Edit this set
          </button>
        </p>
      )}
      <p class="faint">
        The questions are split by their operands: 80 % for training, 10 % for validation, 10 % for the final test. The
        whole answer is trained and tested.
      </p>
      {parent && usesAllOperands(parent) && (
        <p class="faint">
          The analysis used operands that may also be in the test set, so its components may look better than they are.{' '}
          <button
            type="button"
            class="quiet"
            onClick={() => {
              prefillForm({ ...parent, ...optionsOf(parent), prompts: { ...parent.prompts, half: 'first' } } as Spec);
              navigate(page(analysisFormUrl(parent)));
            }}
          >
            Run it on the first half
          </button>{' '}
          of the operands: none of those is ever in the test set.
        </p>
      )}
      <label class="check">
        <input
          type="checkbox"
          checked={draft.test !== null}
          onChange={(event) => change({ test: event.currentTarget.checked ? EMPTY_CUSTOM : null })}
        />
        Test on questions from a file instead
      </label>
      {draft.test && (
        <FileOptions
          draft={draft.test}
          trained
          change={(part) => change({ test: { ...(draft.test ?? EMPTY_CUSTOM), ...part } })}
        />
      )}
    </>
  );
}

/** True if an analysis used operands from all parts of the split. */
const usesAllOperands = ({ prompts }: Spec): boolean =>
  prompts.source === 'template' && prompts.half !== 'first' && isTrainable(prompts);
