// Results of knock-outs and transfers: short names for the generated types, with specs as this page types them.
import type { components } from './types';
import type { KnockoutMetric, KnockoutSpec, TransferSpec } from './wire';

type Schemas = components['schemas'];

export type KnockoutCurve = Schemas['KnockCurve'];
export type KnockoutResult = Omit<Schemas['KnockoutResult'], 'spec' | 'curves'> & {
  spec: KnockoutSpec;
  curves: Partial<Record<KnockoutMetric, KnockoutCurve>>;
};
export type TransferMatrix = Schemas['TransferMatrix'];
export type TransferResult = Omit<Schemas['TransferResult'], 'spec'> & { spec: TransferSpec };
