// A spec on its way to a form, where it is edited and run again.
import type { AnySpec, Result } from '../api/wire';
import { optionsOf, writeChat, writeOptions } from './patchingOptions';

let pending: AnySpec | null = null;

export const prefillForm = (spec: AnySpec): void => {
  pending = spec;
};

/** The address of the analysis form: it holds the patching options. */
export const analysisFormUrl = (spec: Result['spec']): string =>
  writeChat(writeOptions('', optionsOf(spec)), spec.prompts.chat ?? false);

/** Takes the spec that fills in the form of this kind, once. `fits`: false if it belongs to another form of the kind. */
export function takePrefill<S extends AnySpec>(kind: S['kind'], fits: (spec: S) => boolean = () => true): S | null {
  const spec = pending as S | null;
  if (spec?.kind !== kind || !fits(spec)) return null;
  pending = null;
  return spec;
}
