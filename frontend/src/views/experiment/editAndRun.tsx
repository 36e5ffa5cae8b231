// The button back to the form of an experiment, filled in with its spec.
import type { AnySpec } from '../../api/wire';
import { prefillForm } from '../../model/prefill';
import { navigate } from '../../nav';
import { page } from '../../root';

export function EditAndRun({ spec, to }: { spec: AnySpec; to: string }) {
  return (
    <button
      type="button"
      class="quiet"
      onClick={() => {
        prefillForm(spec);
        navigate(page(to));
      }}
    >
      Edit and run again
    </button>
  );
}
