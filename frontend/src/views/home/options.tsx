// Patching options. Impossible choices are disabled and say why.
import { useId, useRef } from 'preact/hooks';
import { CHOICES, FIELDS } from '../../api/vocabulary';
import { isSinglePrompt, type Draft } from '../../model/analysisForm';
import { valuesOf, type ChoiceWords } from '../../model/fields';
import { nonDefaultSummary, normalised, optionsOf, unavailableReason, type Options } from '../../model/patchingOptions';
import { fieldsOf } from '../../ui/fields';

interface OptionsPart {
  draft: Draft;
  change: (options: Options) => void;
}

const FOLDED = ['positions', 'source', 'direction'] as const;

export function PatchingOptions({ draft, change }: OptionsPart) {
  const alone = isSinglePrompt(draft);
  const options = normalised(optionsOf(draft), alone);
  const put = (part: Partial<Options>) => change(normalised({ ...options, ...part }, alone));
  const field = fieldsOf(FIELDS.path_patching, options, put);
  const nonDefaults = nonDefaultSummary(options);
  // Non-default options in the address are visible from the start.
  const opened = useRef(nonDefaults !== '');
  return (
    <>
      <fieldset class="effect-choice">
        <legend>Effect: which paths from a component count</legend>
        {valuesOf(CHOICES.Effect).map((effect) => (
          <EffectRadio
            key={effect}
            value={effect}
            words={CHOICES.Effect[effect]}
            checked={options.effect === effect}
            pick={() => put({ effect })}
          />
        ))}
      </fieldset>
      <details class="fold" open={opened.current} onToggle={(event) => (opened.current = event.currentTarget.open)}>
        <summary>Advanced{nonDefaults && `: ${nonDefaults}`}</summary>
        <div class="row">
          {FOLDED.map((name) =>
            field(name, {
              class: 'grow',
              detailed: true,
              whyNot: (value) => unavailableReason(options, name, value as Options[typeof name], alone),
            }),
          )}
        </div>
      </details>
    </>
  );
}

function EffectRadio({
  value,
  words: { label, help },
  checked,
  pick,
}: {
  value: Options['effect'];
  words: ChoiceWords;
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
        {label}
        <span id={`${id}-words`} class="faint" aria-hidden="true">
          {help}
        </span>
      </label>
    </div>
  );
}
