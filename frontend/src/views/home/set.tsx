// A set of prompts drawn from templates.
import type { Operation, Style } from '../../api/wire';
import { toggled, type Draft } from '../../model/draft';
import { OPERATION_WORDS } from '../../text/experiment';
import { Field } from '../../ui/parts';
import { CorruptionChoice, type FormPart } from './form';

const OPERATIONS: readonly Operation[] = ['add', 'subtract', 'multiply', 'divide'];
const STYLES: readonly Style[] = ['equation', 'statement', 'question'];
const EXAMPLES: Record<Style, string> = {
  equation: '3 + 5 =',
  statement: '3 plus 5 equals to',
  question: 'Q: What is the sum of 3 and 5? A:',
};

const whole = (
  name: 'smallest' | 'largest' | 'pairs' | 'seed',
  label: string,
  draft: Draft,
  change: FormPart['change'],
) => (
  <Field label={label} class="short">
    {(id) => (
      <input
        id={id}
        inputMode="numeric"
        value={draft[name]}
        onInput={(event) => change({ [name]: event.currentTarget.value })}
      />
    )}
  </Field>
);

export function SetOptions({ draft, change }: FormPart) {
  return (
    <div class="set">
      <fieldset class="choices">
        <legend>Operations</legend>
        {OPERATIONS.map((operation) => (
          <label class="check" key={operation}>
            <input
              type="checkbox"
              checked={draft.operations.includes(operation)}
              onChange={() => change({ operations: toggled(draft.operations, operation, OPERATIONS) })}
            />
            {OPERATION_WORDS[operation]}
          </label>
        ))}
      </fieldset>
      <fieldset class="choices">
        <legend>Styles</legend>
        {STYLES.map((style) => (
          <label class="check" key={style} title={EXAMPLES[style]}>
            <input
              type="checkbox"
              checked={draft.styles.includes(style)}
              onChange={() => change({ styles: toggled(draft.styles, style, STYLES) })}
            />
            {style}
          </label>
        ))}
      </fieldset>
      <div class="row">
        {whole('smallest', 'Smallest operand', draft, change)}
        {whole('largest', 'Largest operand', draft, change)}
        {whole('pairs', 'Pairs', draft, change)}
        {whole('seed', 'Seed', draft, change)}
        <CorruptionChoice draft={draft} change={change} />
      </div>
      <label class="check">
        <input
          type="checkbox"
          checked={draft.keepWrong}
          onChange={(event) => change({ keepWrong: event.currentTarget.checked })}
        />
        Keep prompts that the model answers wrongly
      </label>
    </div>
  );
}
