// The way back to the form that an experiment came from, filled in with what it asked.
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
