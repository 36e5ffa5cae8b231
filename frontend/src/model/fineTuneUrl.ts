// The fine-tuning form in the address: defaults are left out, and files cannot be included.
import { CHOICES } from '../api/vocabulary';
import type { FineTuneSpec } from '../api/wire';
import { valuesOf } from './fields';
import { DECIMALS, type SetDraft } from './promptSet';
import { initialFineTune, fineTuneDraftOf, TWO_DIGITS, type QuestionSource, type FineTuneDraft } from './fineTuneForm';

type Kept<T, V> = { [K in keyof T]-?: [T[K], V] extends [V, T[K]] ? K : never }[keyof T];
/** Parameter name and draft field. */
type Rows<T, V> = readonly (readonly [name: string, field: Kept<T, V>])[];

const TEXTS: Rows<FineTuneDraft, string> = [
  ['top', 'top_k'],
  ['components', 'components'],
  ['pairs', 'pairs'],
  ['shots', 'shots'],
  ['steps', 'steps'],
  ['batch', 'batch_size'],
  ['rate', 'learning_rate'],
  ['decay', 'weight_decay'],
  ['warmup', 'warmup'],
  ['clip', 'clip'],
  ['accumulate', 'accumulate'],
  ['every', 'validate_every'],
  ['seed', 'seed'],
];
const FLAGS: Rows<FineTuneDraft, boolean> = [
  ['chat', 'chat'],
  ['biases', 'biases'],
  ['scale', 'head_scale'],
  ['checkpointing', 'checkpointing'],
];
const SET_TEXTS: Rows<SetDraft, string> = [
  ['smallest', 'smallest'],
  ['largest', 'largest'],
  ['questions', 'pairs'],
  ['drawn', 'seed'],
];
const FROMS: readonly QuestionSource[] = ['analysis', 'two_digits', 'set', 'file'];
// Enough for a list of a thousand components.
const LONGEST = 12_000;

export interface FineTuneUrlState {
  draft: FineTuneDraft;
  model: string | null;
  parent: string | null;
  notices: string[];
}

/** Reads the draft from an address. An unknown value becomes the default, with a notice. */
export function readFineTuneUrl(search: string): FineTuneUrlState {
  const query = new URLSearchParams(search);
  const parent = query.get('parent');
  const draft = initialFineTune(parent !== null);
  const set = { ...draft.set };
  const notices: string[] = [];
  const one = <T extends string>(name: string, allowed: readonly T[], put: (value: T) => void) => {
    const text = query.get(name);
    if (text === null) return;
    if ((allowed as readonly string[]).includes(text)) put(text as T);
    else notices.push(`Unknown ${name} “${text.slice(0, 24)}”: using the default.`);
  };
  const many = <T extends string>(name: string, allowed: readonly T[], put: (values: T[]) => void) => {
    const text = query.get(name);
    if (text === null) return;
    const names = text.split(',').filter((each) => each !== '');
    const unknown = names.find((each) => !(allowed as readonly string[]).includes(each));
    if (unknown !== undefined) notices.push(`Unknown ${name} “${unknown.slice(0, 24)}”: left out.`);
    put(allowed.filter((each) => names.includes(each)));
  };
  for (const [name, field] of TEXTS) draft[field] = (query.get(name) ?? draft[field]).slice(0, LONGEST);
  for (const [name, field] of FLAGS) one(name, ['0', '1'], (value) => (draft[field] = value === '1'));
  if (query.has('components')) draft.which = 'these';
  one('metric', valuesOf(CHOICES.Metric), (value) => (draft.metric = value));
  one('tuner', valuesOf(CHOICES.Tuner), (value) => (draft.tuner = value));
  many('controls', valuesOf(CHOICES.Tuner), (values) => (draft.controls = values));
  one('from', FROMS, (value) => (draft.from = value));
  one('schedule', valuesOf(CHOICES.Schedule), (value) => (draft.schedule = value));
  many('tune', valuesOf(CHOICES.HeadPart), (values) => (draft.tune = values));
  for (const [name, field] of SET_TEXTS) set[field] = (query.get(name) ?? set[field]).slice(0, 32);
  one('topic', valuesOf(CHOICES.Topic), (value) => (set.topic = value));
  many('operations', valuesOf(CHOICES.Operation), (values) => (set.operations = values));
  many('styles', valuesOf(CHOICES.Style), (values) => (set.styles = values));
  one('wording', valuesOf(CHOICES.Wording), (value) => (set.wording = value));
  one('numerals', valuesOf(CHOICES.Numerals), (value) => (set.numerals = value));
  one('decimals', DECIMALS, (value) => (set.decimals = Number(value)));
  one('corruption', valuesOf(CHOICES.Corruption), (value) => (set.corruption = value));
  one('half', valuesOf(CHOICES.Half), (value) => (set.half = value));
  return { draft: { ...draft, set }, model: query.get('model'), parent, notices };
}

/** The address of a form: `?model=…&components=L14H2,MLP19`. */
export function writeFineTuneUrl({ draft, model, parent }: Omit<FineTuneUrlState, 'notices'>): string {
  const query = new URLSearchParams();
  const usual = initialFineTune(parent !== null);
  const put = (name: string, value: string, unless: string) => {
    if (value !== unless) query.set(name, value);
  };
  if (model !== null) query.set('model', model);
  if (parent !== null) query.set('parent', parent);
  for (const [name, field] of TEXTS) if (field !== 'components') put(name, draft[field], usual[field]);
  // A list of components is written even if it is empty, to record the choice.
  if (draft.which === 'these' && (usual.which !== 'these' || draft.components !== ''))
    query.set('components', draft.components);
  for (const [name, field] of FLAGS) put(name, draft[field] ? '1' : '0', usual[field] ? '1' : '0');
  put('metric', draft.metric, usual.metric);
  put('tuner', draft.tuner, usual.tuner);
  put('controls', draft.controls.join(), usual.controls.join());
  put('from', draft.from, usual.from);
  put('schedule', draft.schedule, usual.schedule);
  if (draft.tune) query.set('tune', draft.tune.join());
  if (draft.from === 'set') {
    const { set } = draft;
    for (const [name, field] of SET_TEXTS) put(name, set[field], TWO_DIGITS[field]);
    put('topic', set.topic, TWO_DIGITS.topic);
    put('operations', set.operations.join(), TWO_DIGITS.operations.join());
    put('styles', set.styles.join(), TWO_DIGITS.styles.join());
    put('wording', set.wording, TWO_DIGITS.wording);
    put('numerals', set.numerals, TWO_DIGITS.numerals);
    put('decimals', String(set.decimals), String(TWO_DIGITS.decimals));
    put('corruption', set.corruption, TWO_DIGITS.corruption);
    put('half', set.half ?? '', '');
  }
  const text = query.toString().replace(/%2C/g, ',');
  return text ? `?${text}` : '';
}

/** The form filled in with an existing fine-tuning, of its own model or of another. */
export const fineTuneUrl = (spec: FineTuneSpec, model = spec.model): string =>
  `tune${writeFineTuneUrl({ draft: fineTuneDraftOf(spec), model, parent: model === spec.model ? (spec.parent ?? null) : null })}`;

/** The form for the components of an analysis: its pins, or its top components. */
export const fineTuneUrlFrom = (analysis: { id: string; model: string }, components: readonly string[]): string => {
  const draft = initialFineTune(true);
  const named = components.length > 0 ? { ...draft, which: 'these' as const, components: components.join(',') } : draft;
  return `tune${writeFineTuneUrl({ draft: named, model: analysis.model, parent: analysis.id })}`;
};
