// Training settings: the main ones in a row, the others folded.
import { useRef } from 'preact/hooks';
import type { ModelCard, Schedule } from '../../api/wire';
import { toggled } from '../../model/analysisForm';
import { ALL_PARTS, initialFineTune, trainedParts, type FineTuneDraft } from '../../model/fineTuneForm';
import { PART_NAMES, SCHEDULE_NAMES } from '../../text/fineTune';
import { choicesOf, NumberField, Select } from '../prompts/choices';
import type { FineTuneFormProps } from './formProps';

const SCHEDULES = choicesOf<Schedule>(SCHEDULE_NAMES);
const NUMBERS = ['decay', 'warmup', 'clip', 'accumulate', 'every', 'seed'] as const;
const FOLDED = [...NUMBERS, 'tune', 'biases', 'scale', 'checkpointing'] as const;

const hasNonDefaults = (draft: FineTuneDraft): boolean => {
  const usual = initialFineTune(false);
  return FOLDED.some((name) => draft[name] !== usual[name]);
};

export function Settings({ draft, change, card }: FineTuneFormProps & { card: ModelCard | null }) {
  const number = (name: 'steps' | 'batch' | 'rate' | (typeof NUMBERS)[number], label: string) => (
    <NumberField label={label} value={draft[name]} change={(value) => change({ [name]: value })} />
  );
  // Non-default settings in the address are visible from the start.
  const opened = useRef(hasNonDefaults(draft));
  const parts = draft.tune ?? trainedParts(card);
  return (
    <>
      <div class="row">
        {number('steps', 'Steps')}
        {number('batch', 'Batch size')}
        {number('rate', 'Learning rate')}
        <Select
          label="Schedule"
          value={draft.schedule}
          choices={SCHEDULES}
          choose={(schedule) => change({ schedule })}
        />
      </div>
      <details class="fold" open={opened.current} onToggle={(event) => (opened.current = event.currentTarget.open)}>
        <summary>Advanced{hasNonDefaults(draft) && ': some settings changed'}</summary>
        <div class="set">
          <div class="row">
            {number('decay', 'Weight decay')}
            {number('warmup', 'Warm-up (fraction of steps)')}
            {number('clip', 'Gradient clipping (max norm)')}
            {number('accumulate', 'Gradient accumulation steps')}
            {number('every', 'Steps between validations')}
            {number('seed', 'Seed')}
          </div>
          <fieldset class="choices">
            <legend>Projections trained in each head{draft.tune === null && ' (default for this model)'}</legend>
            {ALL_PARTS.map((part) => (
              <label class="check" key={part}>
                <input
                  type="checkbox"
                  checked={parts.includes(part)}
                  onChange={() => change({ tune: toggled(parts, part, ALL_PARTS) })}
                />
                {PART_NAMES[part]}
              </label>
            ))}
            {draft.tune !== null && (
              <button type="button" class="quiet" onClick={() => change({ tune: null })}>
                Use the default
              </button>
            )}
          </fieldset>
          <div class="choices">
            <Check name="biases" label="train biases, too" {...{ draft, change }} />
            <Check
              name="scale"
              label="scale the learning rate of heads by all heads / trained heads"
              {...{ draft, change }}
            />
            <Check
              name="checkpointing"
              label="gradient checkpointing: recompute layers to save memory"
              {...{ draft, change }}
            />
          </div>
        </div>
      </details>
    </>
  );
}

interface CheckProps extends FineTuneFormProps {
  name: 'biases' | 'scale' | 'checkpointing';
  label: string;
}

function Check({ name, label, draft, change }: CheckProps) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={draft[name]}
        onChange={(event) => change({ [name]: event.currentTarget.checked })}
      />
      {label}
    </label>
  );
}
