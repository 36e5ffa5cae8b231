// Labelled fields: a select, a number, a checkbox, a choice of one; and any field of a spec, drawn by the vocabulary.
import type { ComponentChildren } from 'preact';
import { CHOICES } from '../api/vocabulary';
import { choicesOf, type ChoiceWords, type Term, type Terms } from '../model/fields';
import { Field } from './parts';

/** A labelled select. */
export function Select<T extends string>({
  label,
  help,
  value,
  choices,
  off,
  choose,
  class: name = '',
}: {
  label: string;
  help?: string;
  value: T;
  choices: readonly (readonly [value: T, text: string])[];
  off?: (value: T) => boolean;
  choose: (value: T) => void;
  class?: string;
}) {
  return (
    <Field label={label} class={name}>
      {(id) => (
        <select id={id} title={help} value={value} onChange={(event) => choose(event.currentTarget.value as T)}>
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
  help,
  value,
  change,
}: {
  label: string;
  help?: string;
  value: string;
  change: (value: string) => void;
}) {
  return (
    <Field label={label} class="short">
      {(id) => (
        <input
          id={id}
          title={help}
          inputMode="numeric"
          value={value}
          onInput={(event) => change(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

/** A checkbox with its text. */
export const Check = ({
  checked,
  change,
  title,
  children,
}: {
  checked: boolean;
  change: (checked: boolean) => void;
  title?: string;
  children: ComponentChildren;
}) => (
  <label class="check" title={title}>
    <input type="checkbox" checked={checked} onChange={(event) => change(event.currentTarget.checked)} />
    {children}
  </label>
);

/** A choice of one, each on a line. */
export const RadioGroup = <T extends string>({
  legend,
  name,
  value,
  choices,
  choose,
}: {
  legend: string;
  name: string;
  value: T;
  choices: readonly (readonly [value: T, text: ComponentChildren])[];
  choose: (value: T) => void;
}) => (
  <fieldset class="choices">
    <legend>{legend}</legend>
    {choices.map(([each, text]) => (
      <label class="check" key={each}>
        <input type="radio" name={name} checked={value === each} onChange={() => choose(each)} />
        {text}
      </label>
    ))}
  </fieldset>
);

/** A choice of several. */
export const CheckGroup = <T extends string>({
  legend,
  choices,
  chosen,
  toggle,
  children,
}: {
  legend: string;
  choices: readonly (readonly [value: T, text: string, title?: string])[];
  chosen: readonly T[];
  toggle: (value: T) => void;
  children?: ComponentChildren;
}) => (
  <fieldset class="choices">
    <legend>{legend}</legend>
    {choices.map(([each, text, title]) => (
      <Check key={each} checked={chosen.includes(each)} change={() => toggle(each)} {...(title ? { title } : {})}>
        {text}
      </Check>
    ))}
    {children}
  </fieldset>
);

interface FieldOptions<T> {
  class?: string;
  label?: string;
  /** Adds each choice's description to its name. */
  detailed?: boolean;
  /** Why a choice is impossible with the other options; null if it is possible. */
  whyNot?: (value: T) => string | null;
  /** The choice of no value, for a field that may be empty. */
  none?: string;
}

/** A field of a spec, drawn by its words and choices: a checkbox, a select, or a number. */
export function TermField<T>({
  term,
  value,
  change,
  label = term.label,
  class: name = '',
  detailed = false,
  whyNot,
  none,
}: FieldOptions<T> & { term: Term; value: T; change: (value: T) => void }) {
  const help = term.unit ? `${term.help} (${term.unit})` : term.help;
  if (typeof value === 'boolean')
    return (
      <Check checked={value} change={(next) => change(next as T)}>
        {term.help}
      </Check>
    );
  if (!term.choices)
    return <NumberField label={label} help={help} value={String(value)} change={(next) => change(next as T)} />;
  const table: Readonly<Record<string, ChoiceWords>> = CHOICES[term.choices];
  const why = (each: string) => (whyNot && each !== '' ? whyNot(each as T) : null);
  const choices = choicesOf(table).map(([each, text]) => {
    const more = why(each) ?? (detailed ? table[each]?.help : undefined);
    return [each, more ? `${text} (${more})` : text] as const;
  });
  return (
    <Select
      label={label}
      help={help}
      class={name}
      value={value === null ? '' : String(value)}
      choices={none === undefined ? choices : [['', none], ...choices]}
      off={(each) => why(each) !== null}
      choose={(each) => change((each === '' ? null : each) as T)}
    />
  );
}

/** Draws fields of a draft by the names that the draft and the spec share: `field('controls')`. */
export const fieldsOf =
  <T extends Terms, D>(terms: T, draft: D, change: (part: Partial<D>) => void) =>
  <K extends keyof T & keyof D & string>(name: K, options: FieldOptions<D[K]> = {}) => (
    <TermField
      key={name}
      term={terms[name] as Term}
      value={draft[name]}
      change={(value) => change({ [name]: value } as unknown as Partial<D>)}
      {...options}
    />
  );
