// Patching options. Incompatible choices are disabled and say why.
import { useId, useRef } from 'preact/hooks';
import { isSinglePrompt, type Draft } from '../../model/analysisForm';
import {
  DIRECTIONS,
  EFFECTS,
  unavailableReason,
  optionsOf,
  POSITIONS,
  normalised,
  SOURCES,
  nonDefaultSummary,
  type Choice,
  type Options,
} from '../../model/patchingOptions';
import { Field } from '../../ui/parts';

interface OptionsPart {
  draft: Draft;
  choose: (options: Options) => void;
}

export function PatchingOptions({ draft, choose }: OptionsPart) {
  const alone = isSinglePrompt(draft);
  const options = normalised(optionsOf(draft), alone);
  const change = (part: Partial<Options>) => choose(normalised({ ...options, ...part }, alone));
  const nonDefaults = nonDefaultSummary(options);
  // Non-default options in the address are visible from the start.
  const opened = useRef(nonDefaults !== '');
  return (
    <>
      <fieldset class="effect-choice">
        <legend>Effect: which paths from a component count</legend>
        {EFFECTS.map((choice) => (
          <EffectRadio
            key={choice[0]}
            choice={choice}
            checked={options.effect === choice[0]}
            pick={() => change({ effect: choice[0] })}
          />
        ))}
      </fieldset>
      <details class="fold" open={opened.current} onToggle={(event) => (opened.current = event.currentTarget.open)}>
        <summary>Advanced{nonDefaults && `: ${nonDefaults}`}</summary>
        <div class="row">
          <OptionSelect name="positions" label="Patch at" choices={POSITIONS} {...{ options, alone, change }} />
          <OptionSelect name="source" label="Patch with" choices={SOURCES} {...{ options, alone, change }} />
          <OptionSelect name="direction" label="Direction" choices={DIRECTIONS} {...{ options, alone, change }} />
        </div>
      </details>
    </>
  );
}

function EffectRadio({
  choice: [value, name, description],
  checked,
  pick,
}: {
  choice: Choice<Options['effect']>;
  checked: boolean;
  pick: () => void;
}) {
  const id = useId();
  return (
    <div class="effect-radio">
      <input
        type="radio"
        id={id}
        name="effect"
        value={value}
        checked={checked}
        aria-describedby={`${id}-words`}
        onChange={pick}
      />
      <label for={id}>
        {name}
        <span id={`${id}-words`} class="faint" aria-hidden="true">
          {description}
        </span>
      </label>
    </div>
  );
}

function OptionSelect<K extends 'positions' | 'source' | 'direction'>({
  name,
  label,
  choices,
  options,
  alone,
  change,
}: {
  name: K;
  label: string;
  choices: readonly Choice<Options[K]>[];
  options: Options;
  alone: boolean;
  change: (part: Partial<Options>) => void;
}) {
  return (
    <Field label={label} class="grow">
      {(id) => (
        <select
          id={id}
          value={options[name]}
          onChange={(event) => change({ [name]: event.currentTarget.value } as Partial<Options>)}
        >
          {choices.map(([value, label, more]) => {
            const why = unavailableReason(options, name, value, alone);
            return (
              <option key={value} value={value} disabled={why !== null}>
                {label} ({why ?? more})
              </option>
            );
          })}
        </select>
      )}
    </Field>
  );
}
