// Fine-tuning results: short names for the generated types, with specs as this page types them.
import type { components } from './types';
import type { FineTuneSpec } from './wire';

type Schemas = components['schemas'];

export type FineTuneResult = Omit<Schemas['FineTuneResult'], 'spec'> & { spec: FineTuneSpec };
export type Evaluation = Schemas['Evaluation'];
export type Interval = Schemas['Interval'];
export type Judged = Schemas['Judged'];
export type JudgedPrompt = Schemas['JudgedPrompt'];
export type Outcome = JudgedPrompt['outcome'];
export type Neutral = Schemas['Neutral'];
export type Repatched = Schemas['Repatched'];
export type Split = Schemas['Split'];
export type Tunable = Schemas['Tunable'];
/** The data of a `training` event: the whole curve so far. */
export type TrainingCurve = Schemas['TrainingCurve'];
export type TuningPreview = Schemas['TuningPreview'];
