import type { RefObject } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Problem } from '../api/wire';
import { problemOf } from './parts';

export interface Loaded<T> {
  data: T | null;
  error: Problem | null;
  busy: boolean;
}

/**
 * Loads data; loads again when `key` changes and every `everyMs` while the page is visible. Late answers are dropped.
 */
export function useLoad<T>(
  key: string,
  load: (signal: AbortSignal) => Promise<T>,
  everyMs = 0,
): Loaded<T> & { reload: () => void } {
  const [state, setState] = useState<Loaded<T> & { key: string }>({ key, data: null, error: null, busy: true });
  const [reloads, setReloads] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const run = async () => {
      try {
        const data = await latest.current(controller.signal);
        if (!controller.signal.aborted) setState({ key, data, error: null, busy: false });
      } catch (reason) {
        if (controller.signal.aborted) return;
        // Earlier data stays visible next to the error.
        setState((old) => ({ key, data: old.key === key ? old.data : null, error: problemOf(reason), busy: false }));
      }
      if (everyMs > 0 && !controller.signal.aborted) timer = setTimeout(tick, everyMs);
    };
    const tick = () => {
      if (document.visibilityState === 'visible') void run();
      else timer = setTimeout(tick, everyMs);
    };
    void run();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [key, everyMs, reloads]);
  const stale = state.key !== key;
  return {
    data: stale ? null : state.data,
    error: stale ? null : state.error,
    busy: stale || state.busy,
    reload: () => {
      setState((old) => ({ ...old, error: null, busy: true }));
      setReloads((old) => old + 1);
    },
  };
}

/** True once the component has been shown for `ms`. */
export function useElapsed(ms: number): boolean {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), ms);
    return () => clearTimeout(timer);
  }, [ms]);
  return late;
}

/** The width of an element, kept up to date; 0 until it is known. */
export function useWidth<E extends HTMLElement>(): [RefObject<E | null>, number] {
  const place = useRef<E>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const observer = new ResizeObserver((entries) => {
      const next = Math.floor(entries[0]?.contentRect.width ?? 0);
      setWidth((old) => (Math.abs(old - next) > 1 ? next : old));
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [place, width];
}

/** `value`, once it has not changed for `ms`. */
export function useDebounced<T>(value: T, ms: number): T {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return rested;
}

/** Calls `act` when a key is pressed outside a field, unless shortcuts are switched off. */
export function useShortcut(keys: readonly string[], act: (key: string) => void): void {
  const latest = useRef(act);
  latest.current = act;
  const list = keys.join(' ');
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (!shortcuts.on || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target as HTMLElement | null;
      if (target?.closest('input, textarea, select, [contenteditable]')) return;
      if (!list.split(' ').includes(event.key)) return;
      event.preventDefault();
      latest.current(event.key);
    };
    addEventListener('keydown', listen);
    return () => removeEventListener('keydown', listen);
  }, [list]);
}

/** Single-key shortcuts can be switched off while the page is open. */
export const shortcuts = { on: true };
