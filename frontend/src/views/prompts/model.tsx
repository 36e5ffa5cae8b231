// Form fields of how a model is asked: which one, with how many worked examples, through its chat template or not.
import { FIELDS } from '../../api/vocabulary';
import type { ModelCard } from '../../api/wire';
import { millions } from '../../text/numbers';
import { Check, Select } from '../../ui/fields';
import { Field } from '../../ui/parts';

export function ModelChoice({
  cards,
  chosen,
  change,
}: {
  cards: readonly ModelCard[];
  chosen: string | null;
  change: (part: { model: string }) => void;
}) {
  const card = cards.find(({ id }) => id === chosen);
  return (
    <Field label="Model" class="grow">
      {(id) => (
        <select
          id={id}
          value={chosen ?? ''}
          disabled={cards.length === 0}
          onChange={(event) => change({ model: event.currentTarget.value })}
          title={card ? `${card.layers} layers of ${card.heads} heads` : ''}
        >
          {cards.length === 0 && <option value="">no model yet</option>}
          {cards.map((model) => (
            <option key={model.id} value={model.id} disabled={!model.supported}>
              {model.supported
                ? `${model.name} (${millions(model.parameters)}, ${model.layers} × ${model.heads} heads)`
                : `${model.name}: ${model.reason ?? 'cannot run here'}`}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

const { shots: SHOTS, chat: CHAT } = FIELDS.template;

/** The number of worked examples. `automatic`: what no number means. */
export const ShotsChoice = ({
  value,
  change,
  automatic = 'automatic',
}: {
  value: number | null;
  change: (shots: number | null) => void;
  automatic?: string;
}) => (
  <Select
    label={SHOTS.label}
    help={SHOTS.help}
    value={value === null ? '' : String(value)}
    choices={[
      ['', automatic],
      ...Array.from({ length: SHOTS.max + 1 }, (_, i) => [String(i), i === 0 ? 'none' : String(i)] as const),
    ]}
    choose={(text) => change(text === '' ? null : Number(text))}
  />
);

export const ChatCheck = ({ checked, change }: { checked: boolean; change: (chat: boolean) => void }) => (
  <Check checked={checked} change={change} title={CHAT.help}>
    {CHAT.label}
  </Check>
);
