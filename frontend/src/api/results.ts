// Results of knock-outs and transfers, and reports computed on demand: short names for the generated types, with specs
// as this page types them.
import type { components } from './types';
import type { FineTuneResult } from './fineTune';
import type { KnockoutMetric, KnockoutSpec, Result, TransferSpec } from './wire';

type Schemas = components['schemas'];

export type Series = Schemas['KnockCurve']['mean'];
export type KnockoutCurve = Schemas['KnockCurve'];
export type KnockoutResult = Omit<Schemas['KnockoutResult'], 'spec' | 'curves'> & {
  spec: KnockoutSpec;
  curves: Partial<Record<KnockoutMetric, KnockoutCurve>>;
};
export type TransferMatrix = Schemas['TransferMatrix'];
export type TransferResult = Omit<Schemas['TransferResult'], 'spec'> & { spec: TransferSpec };

/** The result of any kind of experiment. Those of analyses are recognised by fields that the others lack. */
export type AnyResult = Result | KnockoutResult | TransferResult | FineTuneResult;

export type KeyTable = Schemas['KeyTable'];
export type KeyReport = Schemas['KeyReport'];
export type HeadRoles = Schemas['HeadRoles'];
export type HeadClass = HeadRoles['head_class'];
export type RoleReport = Schemas['RoleReport'];
export type LensReport = Schemas['LensReport'];
export type StagesReport = Schemas['StagesReport'];
export type WritesReport = Schemas['WritesReport'];
