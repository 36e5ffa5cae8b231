// What was asked once, on its way to a form: to be changed there and asked again.
import type { AnySpec, FineTuneSpec, KnockoutSpec, Result, Spec, TransferSpec } from '../api/wire';
import { optionsOf, writeChat, writeOptions } from './options';

let waiting: AnySpec | null = null;

export const askAgain = (spec: AnySpec): void => {
  waiting = spec;
};

/** Where the form of an analysis stands: how to patch is in its address. */
export const addressOf = (spec: Result['spec']): string =>
  writeChat(writeOptions('', optionsOf(spec)), spec.prompts.chat ?? false);

/** What the form of this kind was opened with, once; a knock-out's belongs to one analysis. */
export function takeAgain(kind: 'knockout', parent: string): KnockoutSpec | null;
export function takeAgain(kind: 'transfer'): TransferSpec | null;
export function takeAgain(kind: 'fine_tune'): FineTuneSpec | null;
export function takeAgain(kind: 'path_patching'): Spec | null;
export function takeAgain(kind: string, parent?: string): AnySpec | null {
  const found = waiting;
  if (!found || found.kind !== kind || (kind === 'knockout' && (found as KnockoutSpec).parent !== parent)) return null;
  waiting = null;
  return found;
}
