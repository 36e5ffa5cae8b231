// Form fields shared by prompts of every kind, and generic select and number fields.
import type { AnswerTokens, Corruption } from '../../api/wire';
import { Field } from '../../ui/parts';

const CORRUPTIONS: readonly (readonly [Corruption, string])[] = [
  ['null_operator', 'removing the operator (@)'],
  ['operand_swap', 'changing the operands and the answer'],
  ['operand_swap_same_answer', 'changing the operands, same answer (control)'],
  ['operator_swap', 'changing the operator'],
];

export function CorruptionChoice({
  value,
  impossible = [],
  choose,
}: {
  value: Corruption;
  impossible?: readonly Corruption[];
  choose: (value: Corruption) => void;
}) {
  return (
    <Select
      label="Counterfactual made by"
      value={value}
      choices={CORRUPTIONS}
      off={(corruption) => impossible.includes(corruption)}
      choose={choose}
    />
  );
}

const ANSWERS: readonly (readonly [AnswerTokens, string])[] = [
  ['whole', 'are left out'],
  ['first', 'first token only'],
  ['each', 'each token, given those before it'],
];

export const AnswerChoice = ({ value, choose }: { value: AnswerTokens; choose: (value: AnswerTokens) => void }) => (
  <Select label="Answers longer than one token" value={value} choices={ANSWERS} choose={choose} />
);

/** The choices of a table of labels. */
export const choicesOf = <T extends string>(labels: Record<T, string>): readonly (readonly [T, string])[] =>
  (Object.keys(labels) as T[]).map((each) => [each, labels[each]] as const);

/** A labelled select. */
export function Select<T extends string>({
  label,
  value,
  choices,
  off,
  choose,
  class: name = '',
}: {
  label: string;
  value: T;
  choices: readonly (readonly [value: T, text: string])[];
  off?: (value: T) => boolean;
  choose: (value: T) => void;
  class?: string;
}) {
  return (
    <Field label={label} class={name}>
      {(id) => (
        <select id={id} value={value} onChange={(event) => choose(event.currentTarget.value as T)}>
          {choices.map(([each, text]) => (
            <option key={each} value={each} disabled={off?.(each) ?? false}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

/** A field for a number, kept as typed. */
export function NumberField({
  label,
  value,
  change,
  disabled = false,
}: {
  label: string;
  value: string;
  change: (value: string) => void;
  disabled?: boolean;
}) {
  return (
    <Field label={label} class="short">
      {(id) => (
        <input
          id={id}
          inputMode="numeric"
          value={value}
          disabled={disabled}
          onInput={(event) => change(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}
