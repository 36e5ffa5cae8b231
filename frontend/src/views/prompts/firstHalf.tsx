// The button that fills in the form of an analysis with one half of its operands.
import type { ComponentChildren } from 'preact';
import type { Spec } from '../../api/wire';
import { optionsOf } from '../../model/patchingOptions';
import { analysisFormUrl, prefillForm } from '../../model/prefill';
import { navigate } from '../../nav';
import { page } from '../../root';

export const FirstHalf = ({ spec, children }: { spec: Spec; children: ComponentChildren }) => (
  <button
    type="button"
    class="quiet"
    onClick={() => {
      prefillForm({ ...spec, ...optionsOf(spec), prompts: { ...spec.prompts, half: 'first' } } as Spec);
      navigate(page(analysisFormUrl(spec)));
    }}
  >
    {children}
  </button>
);
