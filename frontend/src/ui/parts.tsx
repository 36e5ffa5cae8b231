// Small components used on every page.
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { ApiError } from '../api/client';
import type { Problem } from '../api/wire';
import { navigate } from '../nav';

/** A link inside the application: opens in place, unless a modifier asks for a new tab or window. */
export function Link({
  to,
  children,
  ...rest
}: {
  to: string;
  children: ComponentChildren;
  class?: string;
  title?: string;
}) {
  return (
    <a
      href={to}
      onClick={(event) => {
        if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        navigate(to);
      }}
      {...rest}
    >
      {children}
    </a>
  );
}

export const problemOf = (reason: unknown): Problem =>
  reason instanceof ApiError
    ? { title: reason.title, status: reason.status, detail: reason.detail, way_out: reason.wayOut }
    : {
        title: 'Something went wrong on this page',
        status: 0,
        detail: reason instanceof Error ? reason.message : String(reason),
        way_out: 'Reload the page. If it happens again, report it.',
      };

/** What went wrong, why, and the way out; shown where it happened. */
export function ErrorMessage({ problem, children }: { problem: Problem; children?: ComponentChildren }) {
  return (
    <div class="error-message" role="alert">
      <p>
        <strong>{problem.title}.</strong> {problem.detail}
      </p>
      <p>{problem.way_out}</p>
      {children}
    </div>
  );
}

export function Notice({ children, tone = 'plain' }: { children: ComponentChildren; tone?: 'plain' | 'warn' }) {
  return (
    <p class={`notice ${tone}`} role="status">
      {children}
    </p>
  );
}

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard needs a secure context: otherwise the link is shown, to be copied by hand.
    return false;
  }
}

export function CopyLink() {
  const [status, setStatus] = useState<'' | 'copied' | 'by hand'>('');
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (status === 'by hand') field.current?.select();
    if (status !== 'copied') return undefined;
    const timer = setTimeout(() => setStatus(''), 2500);
    return () => clearTimeout(timer);
  }, [status]);
  return (
    <span class="copy">
      <button
        type="button"
        class="quiet"
        onClick={() => void copyText(location.href).then((done) => setStatus(done ? 'copied' : 'by hand'))}
      >
        {status === 'copied' ? 'Link copied' : 'Copy link'}
      </button>
      {status === 'by hand' && <input ref={field} readOnly aria-label="Link to this view" value={location.href} />}
      <span class="unseen" role="status">
        {status === 'copied' ? 'Link copied' : ''}
      </span>
    </span>
  );
}

/** A menu that closes on Escape, on a click elsewhere and after a choice. */
export function Menu({ label, children }: { label: string; children: ComponentChildren }) {
  const place = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      const menu = place.current;
      if (!menu?.open) return;
      if (event instanceof KeyboardEvent) {
        if (event.key !== 'Escape') return;
        menu.querySelector('summary')?.focus();
      } else if (menu.contains(event.target as Node)) return;
      menu.open = false;
    };
    addEventListener('pointerdown', close);
    addEventListener('keydown', close);
    return () => {
      removeEventListener('pointerdown', close);
      removeEventListener('keydown', close);
    };
  }, []);
  return (
    <details class="menu" ref={place}>
      <summary>{label}</summary>
      <div
        class="menu-body"
        onClick={() => {
          if (place.current) place.current.open = false;
        }}
      >
        {children}
      </div>
    </details>
  );
}

/** A labelled control. The label is next to it, not around it: the options of a select are not part of its name. */
export function Field({
  label,
  class: name = '',
  children,
}: {
  label: string;
  class?: string;
  children: (id: string) => ComponentChildren;
}) {
  const id = useId();
  return (
    <div class={`field ${name}`}>
      <label for={id}>{label}</label>
      {children(id)}
    </div>
  );
}
