// What was asked once, on its way to a form: to be changed there and asked again.
import type { AnySpec, FineTuneSpec, KnockoutSpec, Result, Spec, TransferSpec } from '../api/wire';
import { optionsOf, writeChat, writeOptions } from './patchingOptions';

let waiting: AnySpec | null = null;

export const prefillForm = (spec: AnySpec): void => {
  waiting = spec;
};

/** Where the form of an analysis stands: how to patch is in its address. */
export const analysisFormUrl = (spec: Result['spec']): string =>
  writeChat(writeOptions('', optionsOf(spec)), spec.prompts.chat ?? false);

/** What the form of this kind was opened with, once; a knock-out's belongs to one analysis. */
export function takePrefill(kind: 'knockout', parent: string): KnockoutSpec | null;
export function takePrefill(kind: 'transfer'): TransferSpec | null;
export function takePrefill(kind: 'fine_tune'): FineTuneSpec | null;
export function takePrefill(kind: 'path_patching'): Spec | null;
export function takePrefill(kind: string, parent?: string): AnySpec | null {
  const found = waiting;
  if (!found || found.kind !== kind || (kind === 'knockout' && (found as KnockoutSpec).parent !== parent)) return null;
  waiting = null;
  return found;
}
