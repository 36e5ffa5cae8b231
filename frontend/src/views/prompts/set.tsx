// Form fields of a set of prompts drawn from templates. Settings that a topic lacks are hidden.
import { CHOICES, FIELDS } from '../../api/vocabulary';
import { toggled } from '../../model/analysisForm';
import { choicesOf } from '../../model/fields';
import {
  DECIMALS,
  hasStyles,
  hasValue,
  isControl,
  lacks,
  normalisedSet,
  OPERATIONS,
  operationsOf,
  STYLES,
  TOPICS,
  topicName,
  type SetDraft,
} from '../../model/promptSet';
import { Check, CheckGroup, fieldsOf, NumberField, Select, TermField } from '../../ui/fields';

const TERMS = FIELDS.template;
const TOPIC_CHOICES = TOPICS.map((topic) => [topic, topicName(topic)] as const);
const DECIMAL_CHOICES = DECIMALS.map((decimals) => [decimals, decimals === '0' ? 'none' : decimals] as const);

interface SetPart {
  draft: SetDraft;
  change: (part: Partial<SetDraft>) => void;
  /** For training: whole answers, kept even if the model answers incorrectly. */
  trained?: boolean;
}

export function SetOptions({ draft, change, trained = false }: SetPart) {
  const { topic } = draft;
  const put = (part: Partial<SetDraft>) => {
    const { topic, operations, styles, numerals, decimals, corruption } = normalisedSet({ ...draft, ...part });
    change({ ...part, topic, operations, styles, numerals, decimals, corruption });
  };
  const field = fieldsOf(TERMS, draft, put);
  return (
    <div class="set">
      <div class="row">
        <Select
          label={TERMS.topic.label}
          class="grow"
          value={topic}
          choices={TOPIC_CHOICES}
          choose={(next) => put({ topic: next })}
        />
        {hasStyles(topic) && field('wording')}
      </div>
      {operationsOf(topic).length > 1 && (
        <CheckGroup
          legend={TERMS.operations.label}
          choices={operationsOf(topic).map((each) => [each, CHOICES.Operation[each].label])}
          chosen={draft.operations}
          toggle={(each) => put({ operations: toggled(draft.operations, each, OPERATIONS) })}
        />
      )}
      {hasStyles(topic) && (
        <CheckGroup
          legend={TERMS.styles.label}
          choices={choicesOf(CHOICES.Style).map(([each, label]) => [each, label, CHOICES.Style[each].example])}
          chosen={draft.styles}
          toggle={(each) => put({ styles: toggled(draft.styles, each, STYLES) })}
        />
      )}
      <div class="row">
        {!isControl(topic) && (
          <>
            <NumberField label="Smallest operand" value={draft.smallest} change={(smallest) => put({ smallest })} />
            <NumberField label="Largest operand" value={draft.largest} change={(largest) => put({ largest })} />
          </>
        )}
        {field('pairs')}
        {field('seed')}
        {hasValue(topic, 'numerals', 'words') && field('numerals')}
        {hasValue(topic, 'decimals', 1) && draft.numerals === 'digits' && (
          <Select
            label={TERMS.decimals.label}
            help={TERMS.decimals.help}
            value={String(draft.decimals)}
            choices={DECIMAL_CHOICES}
            choose={(decimals) => put({ decimals: Number(decimals) })}
          />
        )}
        {field('half', { none: 'all', label: isControl(topic) ? 'Half of the questions' : TERMS.half.label })}
        {!trained && (
          <TermField term={TERMS.answer} value={draft.answerTokens} change={(answerTokens) => put({ answerTokens })} />
        )}
        {field('corruption', { whyNot: (each) => lacks(topic, 'corruption', each) })}
      </div>
      {!trained && (
        <>
          <p class="faint">The halves share no operands: find components on one half and test them on the other.</p>
          <Check checked={draft.keepWrong} change={(keepWrong) => put({ keepWrong })} title={TERMS.keep_wrong.help}>
            Keep prompts that the model answers wrongly
          </Check>
        </>
      )}
    </div>
  );
}
