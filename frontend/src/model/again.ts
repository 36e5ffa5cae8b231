// What was asked once, on its way to a form: to be changed there and asked again.
import type { AnySpec, KnockoutSpec, Spec, TransferSpec } from '../api/wire';

let waiting: AnySpec | null = null;

export const askAgain = (spec: AnySpec): void => {
  waiting = spec;
};

/** What the form of this kind was opened with, once; a knock-out's belongs to one analysis. */
export function takeAgain(kind: 'knockout', parent: string): KnockoutSpec | null;
export function takeAgain(kind: 'transfer'): TransferSpec | null;
export function takeAgain(kind: 'path_patching'): Spec | null;
export function takeAgain(kind: string, parent?: string): AnySpec | null {
  const found = waiting;
  if (!found || found.kind !== kind || (found.kind === 'knockout' && found.parent !== parent)) return null;
  waiting = null;
  return found;
}
