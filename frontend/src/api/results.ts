// What is found with components once they are known: results of knock-outs and transfers, and the reports on demand.
// Short names for the generated types, with the specs as this page writes them.
import type { components } from './types';
import type { FineTuneResult } from './fineTune';
import type { KnockoutMetric, KnockoutSpec, Result, TransferSpec } from './wire';

type Schemas = components['schemas'];

export type Row = Schemas['KnockCurve']['mean'];
export type KnockoutCurve = Schemas['KnockCurve'];
export type KnockoutResult = Omit<Schemas['KnockoutResult'], 'spec' | 'curves'> & {
  spec: KnockoutSpec;
  curves: Partial<Record<KnockoutMetric, KnockoutCurve>>;
};
export type TransferMatrix = Schemas['TransferMatrix'];
export type TransferResult = Omit<Schemas['TransferResult'], 'spec'> & { spec: TransferSpec };

/** Whatever the kind of the experiment. Results of analyses came first and are told by what the others are not. */
export type AnyResult = Result | KnockoutResult | TransferResult | FineTuneResult;

export type KeyTable = Schemas['KeyTable'];
export type KeyReport = Schemas['KeyReport'];
export type HeadRoles = Schemas['HeadRoles'];
export type HeadClass = HeadRoles['head_class'];
export type RoleReport = Schemas['RoleReport'];
export type LensReport = Schemas['LensReport'];
export type StagesReport = Schemas['StagesReport'];
export type WritesReport = Schemas['WritesReport'];
