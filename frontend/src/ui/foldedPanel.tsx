// A panel that loads its content when it is unfolded: a worker computes it once.
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

export function FoldedPanel({
  name,
  description,
  open,
  toggle,
  children,
}: {
  name: string;
  /** The question it answers, in one line. */
  description: string;
  open: boolean;
  toggle: (open: boolean) => void;
  children: () => ComponentChildren;
}) {
  const id = useId();
  return (
    <section class="panel folded-panel" aria-labelledby={id}>
      <h2 id={id}>
        <button type="button" class="unfold" aria-expanded={open} onClick={() => toggle(!open)}>
          <span aria-hidden="true">{open ? '▾' : '▸'}</span> {name}
        </button>
      </h2>
      <p class="faint">{description}</p>
      {open && <div class="folded-body">{children()}</div>}
    </section>
  );
}
