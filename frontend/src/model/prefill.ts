// A spec on its way to a form, where it is edited and run again.
import type { AnySpec, FineTuneSpec, KnockoutSpec, Result, Spec, TransferSpec } from '../api/wire';
import { optionsOf, writeChat, writeOptions } from './patchingOptions';

let pending: AnySpec | null = null;

export const prefillForm = (spec: AnySpec): void => {
  pending = spec;
};

/** The address of the analysis form: it holds the patching options. */
export const analysisFormUrl = (spec: Result['spec']): string =>
  writeChat(writeOptions('', optionsOf(spec)), spec.prompts.chat ?? false);

/** Takes the spec that fills in the form of this kind, once. A knock-out belongs to one analysis. */
export function takePrefill(kind: 'knockout', parent: string): KnockoutSpec | null;
export function takePrefill(kind: 'transfer'): TransferSpec | null;
export function takePrefill(kind: 'fine_tune'): FineTuneSpec | null;
export function takePrefill(kind: 'path_patching'): Spec | null;
export function takePrefill(kind: string, parent?: string): AnySpec | null {
  const spec = pending;
  if (!spec || spec.kind !== kind || (kind === 'knockout' && (spec as KnockoutSpec).parent !== parent)) return null;
  pending = null;
  return spec;
}
