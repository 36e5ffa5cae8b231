// The requests of untouched forms, as JSON: `npm run defaults`. A test compares them with the defaults of the API.
import { FIELDS } from './api/vocabulary';
import type { AnySpec, ModelCard } from './api/wire';
import { analysisSpecOf, DEFAULT_DRAFT } from './model/analysisForm';
import { initialFineTune, fineTuneSpecOf } from './model/fineTuneForm';
import { initialKnockout, knockoutSpecOf } from './model/knockoutForm';
import { initialTransfer, transferSpecOf } from './model/transferForm';
import { defaultMetric } from './route';

const MODEL: ModelCard = {
  id: 'smollm2-135m',
  name: 'SmolLM2-135M',
  revision: 'main',
  source: 'demo',
  parameters: 134_515_008,
  layers: 30,
  heads: 9,
  kv_heads: 3,
  shots: 2,
  answer: 'whole',
  chat: false,
  supported: true,
};
const PARENT = 'example';

/** What each form submits if nothing but what it needs is filled in: a prompt, a parent, a component. */
export function untouchedSpecs(): Record<string, AnySpec | null> {
  const set = analysisSpecOf({ ...DEFAULT_DRAFT, mode: 'set' }, MODEL).spec;
  const view = { metric: defaultMetric(FIELDS.path_patching.metrics.default), pins: [], single: false };
  return {
    path_patching: analysisSpecOf(DEFAULT_DRAFT, MODEL).spec,
    path_patching_set: set,
    knockout: set && knockoutSpecOf(initialKnockout({ ...view, prompts: set.prompts }), PARENT).spec,
    transfer: transferSpecOf(initialTransfer(), MODEL.id, null, false).spec,
    fine_tune: fineTuneSpecOf({ ...initialFineTune(false), components: 'L14H2' }, { model: MODEL, origin: null }).spec,
  };
}
