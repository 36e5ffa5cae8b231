// The questions to train and test on.
import { FIELDS } from '../../api/vocabulary';
import type { ModelCard, Spec } from '../../api/wire';
import { EMPTY_CUSTOM } from '../../model/customPrompts';
import { formatted } from '../../model/fields';
import { DEFAULT_SET, setDraftOf } from '../../model/promptSet';
import {
  questionSourceOf,
  isTrainable,
  TWO_DIGITS,
  type QuestionSource,
  type ParentAnalysis,
} from '../../model/fineTuneForm';
import { setName } from '../../model/transferForm';
import { Check, NumberField, RadioGroup } from '../../ui/fields';
import { FileOptions } from '../prompts/file';
import { FirstHalf } from '../prompts/firstHalf';
import { ChatCheck, ShotsChoice } from '../prompts/model';
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
      <RadioGroup
        legend={FIELDS.fine_tune.prompts.label}
        name="from"
        value={from}
        choices={offered.map((each) => [each, NAMES[each]])}
        choose={(next) => change({ from: next })}
      />
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
        <ShotsChoice
          value={draft.shots.trim() === '' ? null : Number(draft.shots)}
          automatic={from === 'analysis' ? 'same as the analysis' : 'automatic'}
          change={(shots) => change({ shots: formatted(shots) })}
        />
        {card?.chat && <ChatCheck checked={draft.chat} change={(chat) => change({ chat })} />}
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
                set: {
                  ...named,
                  pairs: draft.pairs,
                  half: null,
                  answerTokens: DEFAULT_SET.answerTokens,
                  keepWrong: true,
                },
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
          <FirstHalf spec={parent}>Run it on the first half</FirstHalf> of the operands: none of those is ever in the
          test set.
        </p>
      )}
      <Check checked={draft.test !== null} change={(own) => change({ test: own ? EMPTY_CUSTOM : null })}>
        Test on questions from a file instead
      </Check>
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
