// Form fields of a set of prompts drawn from templates. Settings that a topic lacks are hidden.
import type { Half, Numerals, Style, Wording } from '../../api/wire';
import { toggled } from '../../model/analysisForm';
import { OPERATIONS, normalisedSet, STYLES, TOPIC_NAMES, TOPICS, type SetDraft } from '../../model/promptSet';
import { OPERATION_NAMES } from '../../text/titles';
import { AnswerChoice, CorruptionChoice, NumberField, Select } from './choices';

const EXAMPLES: Record<Style, string> = {
  equation: '3 + 5 =',
  statement: '3 plus 5 equals to',
  question: 'Q: What is the sum of 3 and 5? A:',
};
const WORDINGS: readonly (readonly [Wording, string])[] = [
  ['plain', 'a few'],
  ['varied', 'twelve or more'],
];
const NUMERALS: readonly (readonly [Numerals, string])[] = [
  ['digits', 'in digits (12)'],
  ['words', 'in words (twelve)'],
];
const DECIMALS: readonly (readonly ['0' | '1' | '2', string])[] = [
  ['0', 'none'],
  ['1', 'one (2.5)'],
  ['2', 'two (2.50)'],
];
const HALVES: readonly (readonly [Half | 'all', string])[] = [
  ['all', 'all'],
  ['first', 'first half'],
  ['second', 'second half'],
];
const TOPIC_CHOICES = TOPIC_NAMES.map((topic) => [topic, TOPICS[topic].name] as const);

interface SetPart {
  draft: SetDraft;
  change: (part: Partial<SetDraft>) => void;
  /** For training: whole answers, kept even if the model answers incorrectly. */
  trained?: boolean;
}

export function SetOptions({ draft, change, trained = false }: SetPart) {
  const row = TOPICS[draft.topic];
  const put = (part: Partial<SetDraft>) => {
    const { topic, operations, styles, numerals, decimals, corruption } = normalisedSet({ ...draft, ...part });
    change({ ...part, topic, operations, styles, numerals, decimals, corruption });
  };
  return (
    <div class="set">
      <div class="row">
        <Select
          label="Topic"
          class="grow"
          value={draft.topic}
          choices={TOPIC_CHOICES}
          choose={(topic) => put({ topic })}
        />
        {row.styles && (
          <Select label="Wordings" value={draft.wording} choices={WORDINGS} choose={(wording) => put({ wording })} />
        )}
      </div>
      {row.operations.length > 1 && (
        <fieldset class="choices">
          <legend>Operations</legend>
          {row.operations.map((operation) => (
            <label class="check" key={operation}>
              <input
                type="checkbox"
                checked={draft.operations.includes(operation)}
                onChange={() => put({ operations: toggled(draft.operations, operation, OPERATIONS) })}
              />
              {OPERATION_NAMES[operation]}
            </label>
          ))}
        </fieldset>
      )}
      {row.styles && (
        <fieldset class="choices">
          <legend>Styles</legend>
          {STYLES.map((style) => (
            <label class="check" key={style} title={EXAMPLES[style]}>
              <input
                type="checkbox"
                checked={draft.styles.includes(style)}
                onChange={() => put({ styles: toggled(draft.styles, style, STYLES) })}
              />
              {style}
            </label>
          ))}
        </fieldset>
      )}
      <div class="row">
        {row.operations.length > 0 && (
          <>
            <NumberField label="Smallest operand" value={draft.smallest} change={(smallest) => put({ smallest })} />
            <NumberField label="Largest operand" value={draft.largest} change={(largest) => put({ largest })} />
          </>
        )}
        <NumberField label="Pairs" value={draft.pairs} change={(pairs) => put({ pairs })} />
        <NumberField label="Seed" value={draft.seed} change={(seed) => put({ seed })} />
        {row.words && (
          <Select label="Numbers" value={draft.numerals} choices={NUMERALS} choose={(numerals) => put({ numerals })} />
        )}
        {row.decimals && draft.numerals === 'digits' && (
          <Select
            label="Decimals"
            value={String(draft.decimals) as '0' | '1' | '2'}
            choices={DECIMALS}
            choose={(decimals) => put({ decimals: Number(decimals) })}
          />
        )}
        <Select
          label={row.operations.length > 0 ? 'Operands' : 'Questions'}
          value={draft.half ?? 'all'}
          choices={HALVES}
          choose={(half) => put({ half: half === 'all' ? null : half })}
        />
        {!trained && <AnswerChoice value={draft.answerTokens} choose={(answerTokens) => put({ answerTokens })} />}
        <CorruptionChoice
          value={draft.corruption}
          impossible={row.impossible ?? []}
          choose={(corruption) => put({ corruption })}
        />
      </div>
      {!trained && (
        <p class="faint">The halves share no operands: find components on one half and test them on the other.</p>
      )}
      {!trained && (
        <label class="check">
          <input
            type="checkbox"
            checked={draft.keepWrong}
            onChange={(event) => put({ keepWrong: event.currentTarget.checked })}
          />
          Keep prompts that the model answers wrongly
        </label>
      )}
    </div>
  );
}
