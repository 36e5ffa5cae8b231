// The transfer form: the prompt sets on which heads are found, and those on which they are knocked out.
import { useEffect, useState } from 'preact/hooks';
import { FIELDS } from '../../api/vocabulary';
import type { TransferSpec } from '../../api/wire';
import { EMPTY_CUSTOM } from '../../model/customPrompts';
import {
  initialTransfer,
  isCustom,
  MAX_SETS,
  pairsIn,
  PRESETS,
  setName,
  transferDraftOf,
  transferSpecOf,
  withSet,
  type SetChoice,
  type TransferDraft,
} from '../../model/transferForm';
import type { Address } from '../../nav';
import { plural } from '../../text/numbers';
import { Check, fieldsOf, Select } from '../../ui/fields';
import { ErrorMessage } from '../../ui/parts';
import { FormFrame, chosenModel, specFor, useExperimentForm } from '../experiment/form';
import { FileOptions } from '../prompts/file';
import { ChatCheck, ModelChoice, ShotsChoice } from '../prompts/model';
import { ParentLink, useParent } from '../knockout/parent';
import { SetOptions } from '../prompts/set';

type Draft = TransferDraft & { model: string | null };

export function NewTransfer({ address }: { address: Address }) {
  const query = new URLSearchParams(address.search);
  const parent = useParent(query.get('parent'));
  useEffect(() => {
    document.title = 'Transfer · Arithmoscope';
  }, []);
  const form = useExperimentForm<Draft, TransferSpec>({
    kind: 'transfer',
    first: (prefill) => ({
      ...(prefill ? transferDraftOf(prefill) : initialTransfer()),
      model: prefill?.model ?? query.get('model'),
    }),
    build: (draft, models) =>
      specFor(draft.model, models, (model) =>
        transferSpecOf(draft, model.id, parent && !parent.gone ? parent.id : null, model.chat === true),
      ),
  });
  const { draft, change, models } = form;
  const { model } = chosenModel(draft.model, models);
  const field = fieldsOf(FIELDS.transfer, draft, change);
  const chats = model?.chat === true;
  const [findSets, evaluateSets] = [draft.sets.filter((set) => set.found), draft.sets.filter((set) => set.evaluated)];
  return (
    <div class="workspace transfer-new">
      <div class="narrow">
        <h1 tabIndex={-1}>Transfer</h1>
        <p>
          Do the heads found on one kind of prompt matter on another, and are other abilities unaffected? The strongest
          heads are found on each set, then knocked out on every set and compared with the same number of random heads.
        </p>
        {parent && (
          <p class="faint">
            {parent.gone ? (
              'Its analysis was deleted: the transfer runs without it.'
            ) : (
              <>
                It belongs to the analysis <ParentLink parent={parent} />.
              </>
            )}
          </p>
        )}
      </div>
      <FormFrame
        form={form}
        button="Run transfer"
        after={
          <span class="faint">
            path patching on {plural(findSets.length, 'set')}, knock-outs on {plural(evaluateSets.length, 'set')}
          </span>
        }
      >
        <div class="row">
          <ModelChoice cards={models.data ?? []} chosen={model?.id ?? null} change={change} />
          <ShotsChoice value={draft.shots} change={(shots) => change({ shots })} />
          {chats && <ChatCheck checked={draft.chat} change={(chat) => change({ chat })} />}
        </div>
        {models.error && <ErrorMessage problem={models.error} />}
        <Sets sets={draft.sets} chats={chats} change={(sets) => change({ sets })} />
        {field('disjoint')}
        <div class="row">
          {field('top_k')}
          {field('effect')}
          {field('metric')}
          {field('ablation')}
          {field('controls')}
          {field('seed')}
        </div>
      </FormFrame>
    </div>
  );
}

interface SetsProps {
  sets: readonly SetChoice[];
  chats: boolean;
  change: (sets: readonly SetChoice[]) => void;
}

const ADD_FILE = 'file';

function Sets({ sets, chats, change }: SetsProps) {
  const [edited, setEdited] = useState<number | null>(null);
  const put = (key: number, part: Partial<SetChoice>) =>
    change(sets.map((each) => (each.key === key ? { ...each, ...part } : each)));
  return (
    <fieldset class="sets">
      <legend>Sets of prompts</legend>
      <ul>
        {sets.map((choice) => {
          const name = setName(choice.set);
          const open = edited === choice.key;
          return (
            <li key={choice.key} class="set-choice">
              <div class="set-line">
                <strong>{name}</strong>
                <span class="faint">
                  {pairsIn(choice.set)} pairs{overridesSummary(choice, chats)}
                </span>
                <Check checked={choice.found} change={(found) => put(choice.key, { found })}>
                  find heads<span class="unseen"> on {name}</span>
                </Check>
                <Check checked={choice.evaluated} change={(evaluated) => put(choice.key, { evaluated })}>
                  knock out<span class="unseen"> on {name}</span>
                </Check>
                <button
                  type="button"
                  class="quiet"
                  aria-expanded={open}
                  onClick={() => setEdited(open ? null : choice.key)}
                >
                  {open ? 'Done' : 'Edit'}
                  <span class="unseen"> {name}</span>
                </button>
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Remove ${name}`}
                  onClick={() => change(sets.filter((each) => each !== choice))}
                >
                  ×
                </button>
              </div>
              {open && <SetEditor choice={choice} chats={chats} change={(part) => put(choice.key, part)} />}
            </li>
          );
        })}
      </ul>
      {sets.length < 2 * MAX_SETS && (
        <Select
          label="Add a set"
          value=""
          choices={[
            ['', 'choose…'],
            ...Object.keys(PRESETS).map((name) => [name, name] as const),
            [ADD_FILE, 'prompts from a file'],
          ]}
          choose={(value) => {
            if (value === ADD_FILE) {
              const more = withSet(sets, EMPTY_CUSTOM);
              setEdited(more.at(-1)?.key ?? null);
              change(more);
            }
            if (value in PRESETS) change(withSet(sets, PRESETS[value as keyof typeof PRESETS]));
          }}
        />
      )}
    </fieldset>
  );
}

/** Settings of a set that differ from the shared ones: ", 4 worked examples, through the chat template". */
function overridesSummary({ shots, chat }: SetChoice, chats: boolean): string {
  const parts = [
    shots === null ? null : plural(shots, 'worked example'),
    chat === null || !chats ? null : chat ? 'through the chat template' : 'without the chat template',
  ];
  return parts.flatMap((part) => (part === null ? [] : `, ${part}`)).join('');
}

const OWN_CHAT: readonly (readonly ['all' | 'on' | 'off', string])[] = [
  ['all', 'same as all sets'],
  ['on', 'on'],
  ['off', 'off'],
];

function SetEditor({
  choice: { set, shots, chat },
  chats,
  change,
}: {
  choice: SetChoice;
  chats: boolean;
  change: (part: Partial<SetChoice>) => void;
}) {
  return (
    <div class="set">
      {isCustom(set) ? (
        <FileOptions draft={set} change={(part) => change({ set: { ...set, ...part } })} />
      ) : (
        <SetOptions draft={set} change={(part) => change({ set: { ...set, ...part } })} />
      )}
      <div class="row">
        <ShotsChoice value={shots} automatic="same as all sets" change={(next) => change({ shots: next })} />
        {chats && (
          <Select
            label="Chat template"
            value={chat === null ? 'all' : chat ? 'on' : 'off'}
            choices={OWN_CHAT}
            choose={(next) => change({ chat: next === 'all' ? null : next === 'on' })}
          />
        )}
      </div>
    </div>
  );
}
