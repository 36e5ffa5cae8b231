// Training settings: the main ones in a row, the others folded.
import { useRef } from 'preact/hooks';
import { CHOICES, FIELDS } from '../../api/vocabulary';
import type { ModelCard } from '../../api/wire';
import { toggled } from '../../model/analysisForm';
import { choicesOf } from '../../model/fields';
import { ALL_PARTS, initialFineTune, trainedParts, type FineTuneDraft } from '../../model/fineTuneForm';
import { CheckGroup, fieldsOf } from '../../ui/fields';
import type { FineTuneFormProps } from './formProps';

const NUMBERS = ['weight_decay', 'warmup', 'clip', 'accumulate', 'validate_every', 'seed'] as const;
const FLAGS = ['biases', 'head_scale', 'checkpointing'] as const;

const hasNonDefaults = (draft: FineTuneDraft): boolean => {
  const usual = initialFineTune(false);
  return [...NUMBERS, ...FLAGS, 'tune' as const].some((name) => draft[name] !== usual[name]);
};

export function Settings({ draft, change, card }: FineTuneFormProps & { card: ModelCard | null }) {
  // Non-default settings in the address are visible from the start.
  const opened = useRef(hasNonDefaults(draft));
  const parts = draft.tune ?? trainedParts(card);
  const field = fieldsOf(FIELDS.fine_tune, draft, change);
  return (
    <>
      <div class="row">
        {field('steps')}
        {field('batch_size')}
        {field('learning_rate')}
        {field('schedule')}
      </div>
      <details class="fold" open={opened.current} onToggle={(event) => (opened.current = event.currentTarget.open)}>
        <summary>Advanced{hasNonDefaults(draft) && ': some settings changed'}</summary>
        <div class="set">
          <div class="row">{NUMBERS.map((name) => field(name))}</div>
          <CheckGroup
            legend={`${FIELDS.fine_tune.tune.label}${draft.tune === null ? ' (default for this model)' : ''}`}
            choices={choicesOf(CHOICES.HeadPart)}
            chosen={parts}
            toggle={(part) => change({ tune: toggled(parts, part, ALL_PARTS) })}
          >
            {draft.tune !== null && (
              <button type="button" class="quiet" onClick={() => change({ tune: null })}>
                Use the default
              </button>
            )}
          </CheckGroup>
          <div class="choices">{FLAGS.map((name) => field(name))}</div>
        </div>
      </details>
    </>
  );
}
