// Navigation without reloading the page. `note` is shown once on the page that is opened.
import { useEffect, useState } from 'preact/hooks';

export interface Address {
  pathname: string;
  search: string;
  note: string | null;
}

const MOVED = 'arithmoscope:moved';

function read(): Address {
  const state: unknown = history.state;
  const note = typeof state === 'object' && state !== null && 'note' in state ? state.note : null;
  return { pathname: location.pathname, search: location.search, note: typeof note === 'string' ? note : null };
}

export function navigate(to: string, { replace = false, note = null as string | null } = {}): void {
  const target = new URL(to, location.href);
  if (target.href === location.href && note === null) return;
  history[replace ? 'replaceState' : 'pushState'](note === null ? null : { note }, '', target);
  dispatchEvent(new Event(MOVED));
}

export function useAddress(): Address {
  const [address, setAddress] = useState(read);
  useEffect(() => {
    const update = () => setAddress(read());
    addEventListener('popstate', update);
    addEventListener(MOVED, update);
    return () => {
      removeEventListener('popstate', update);
      removeEventListener(MOVED, update);
    };
  }, []);
  return address;
}
