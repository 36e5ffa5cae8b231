// The transfer form: the prompt sets on which heads are found, and those on which they are knocked out.
import { useEffect, useState } from 'preact/hooks';
import { models as loadModels, submit } from '../../api/client';
import type { Effect, Metric, Problem, TransferSpec } from '../../api/wire';
import { takePrefill } from '../../model/prefill';
import { defaultModel } from '../../model/analysisForm';
import { EFFECTS } from '../../model/patchingOptions';
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
import { navigate, type Address } from '../../nav';
import { page } from '../../root';
import { METRIC_NAMES, plural } from '../../text/numbers';
import { useLoad } from '../../ui/hooks';
import { ErrorMessage, problemOf } from '../../ui/parts';
import { FileOptions } from '../prompts/file';
import { ModelChoice } from '../home/form';
import { ParentLink, useParent } from '../knockout/parent';
import { ABLATIONS, SHOTS } from '../knockout/form';
import { choicesOf, NumberField, Select } from '../prompts/choices';
import { SetOptions } from '../prompts/set';

const METRICS = choicesOf<Metric>(METRIC_NAMES);
const EFFECT_CHOICES = EFFECTS.map(([value, label]) => [value, label] as readonly [Effect, string]);

const FALLBACK_SHOTS = 2;

export function NewTransfer({ address }: { address: Address }) {
  const query = new URLSearchParams(address.search);
  const parent = useParent(query.get('parent'));
  const cards = useLoad('models', loadModels);
  const [prefill] = useState(() => takePrefill<TransferSpec>('transfer'));
  const [model, setModel] = useState<string | null>(prefill?.model ?? query.get('model'));
  const [draft, setDraft] = useState<TransferDraft | null>(prefill && transferDraftOf(prefill, FALLBACK_SHOTS));
  const [error, setError] = useState<Problem | null>(null);
  const [sending, setSending] = useState(false);
  useEffect(() => {
    document.title = 'Transfer · Arithmoscope';
  }, []);

  const models = cards.data ?? [];
  const card = models.find(({ id, supported }) => id === model && supported) ?? defaultModel(models);
  // The model's default number of worked examples, until another is chosen.
  const shown = draft ?? initialTransfer(card?.shots ?? FALLBACK_SHOTS);
  const change = (part: Partial<TransferDraft>) => {
    setDraft({ ...shown, ...part });
    setError(null);
  };
  const submission = card
    ? transferSpecOf(shown, card.id, parent && !parent.gone ? parent.id : null, card.chat === true)
    : { spec: null, problem: cards.busy ? 'Loading models…' : 'No model can run here.' };
  const run = async () => {
    if (sending || !submission.spec) return;
    setSending(true);
    try {
      const { experiment, existing } = await submit(submission.spec);
      navigate(page(`analyses/${experiment.id}`), {
        note: existing ? 'The same transfer already exists: here it is.' : null,
      });
    } catch (reason) {
      setError(problemOf(reason));
      setSending(false);
    }
  };
  const [findSets, evaluateSets] = [shown.sets.filter((set) => set.found), shown.sets.filter((set) => set.evaluated)];
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
      <form
        class="set"
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <div class="row">
          <ModelChoice cards={models} chosen={card?.id ?? null} change={(part) => setModel(part.model)} />
          <Select
            label="Worked examples"
            value={String(shown.shots)}
            choices={SHOTS}
            choose={(shots) => change({ shots: Number(shots) })}
          />
          {card?.chat && (
            <label class="check">
              <input
                type="checkbox"
                checked={shown.chat}
                onChange={(event) => change({ chat: event.currentTarget.checked })}
              />
              Chat template
            </label>
          )}
        </div>
        {cards.error && <ErrorMessage problem={cards.error} />}
        <Sets sets={shown.sets} chats={card?.chat === true} change={(sets) => change({ sets })} />
        <label class="check">
          <input
            type="checkbox"
            checked={shown.disjoint}
            onChange={(event) => change({ disjoint: event.currentTarget.checked })}
          />
          Split every set by its operands: heads are found on one half and tested on the other
        </label>
        <div class="row">
          <NumberField label="Top k heads" value={shown.topK} change={(topK) => change({ topK })} />
          <Select
            label="Effect"
            value={shown.effect}
            choices={EFFECT_CHOICES}
            choose={(effect) => change({ effect })}
          />
          <Select label="Rank by" value={shown.metric} choices={METRICS} choose={(metric) => change({ metric })} />
          <Select
            label="Replace with"
            value={shown.ablation}
            choices={ABLATIONS}
            choose={(ablation) => change({ ablation })}
          />
          <NumberField label="Random controls" value={shown.controls} change={(controls) => change({ controls })} />
          <NumberField label="Seed" value={shown.seed} change={(seed) => change({ seed })} />
        </div>
        {submission.problem !== null && <p class="notice warn">{submission.problem}</p>}
        <div class="row go">
          <button type="submit" class="primary" disabled={sending || submission.spec === null}>
            {sending ? 'Submitting…' : 'Run transfer'}
          </button>
          <span class="faint">
            path patching on {plural(findSets.length, 'set')}, knock-outs on {plural(evaluateSets.length, 'set')}
          </span>
        </div>
        {error && <ErrorMessage problem={error} />}
      </form>
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
                <label class="check">
                  <input
                    type="checkbox"
                    checked={choice.found}
                    onChange={() => put(choice.key, { found: !choice.found })}
                  />
                  find heads<span class="unseen"> on {name}</span>
                </label>
                <label class="check">
                  <input
                    type="checkbox"
                    checked={choice.evaluated}
                    onChange={() => put(choice.key, { evaluated: !choice.evaluated })}
                  />
                  knock out<span class="unseen"> on {name}</span>
                </label>
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
            ...PRESETS.map(({ name }) => [name, name] as const),
            [ADD_FILE, 'prompts from a file'],
          ]}
          choose={(value) => {
            if (value === ADD_FILE) {
              const more = withSet(sets, EMPTY_CUSTOM);
              setEdited(more.at(-1)?.key ?? null);
              change(more);
            }
            const preset = PRESETS.find(({ name }) => name === value);
            if (preset) change(withSet(sets, preset.set));
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

const AS_ALL = 'all';
const OWN_SHOTS: readonly (readonly [string, string])[] = [[AS_ALL, 'same as all sets'], ...SHOTS];
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
        <Select
          label="Worked examples"
          value={shots === null ? AS_ALL : String(shots)}
          choices={OWN_SHOTS}
          choose={(next) => change({ shots: next === AS_ALL ? null : Number(next) })}
        />
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
