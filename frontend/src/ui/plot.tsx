// A Plotly figure in the page. plotly.js is loaded when the first figure is drawn.
import { useEffect, useRef, useState } from 'preact/hooks';
import { CONFIG, type Figure } from '../charts/figure';

type Plotly = (typeof import('plotly.js-cartesian-dist-min'))['default'];
let loading: Promise<Plotly> | null = null;

export function plotly(): Promise<Plotly> {
  loading ??= import('plotly.js-cartesian-dist-min').then((module) => module.default);
  // A failed load (the server restarted with another build) may be retried.
  loading.catch(() => {
    loading = null;
  });
  return loading;
}

// One figure per task: several drawn at once would block the page.
let queue: Promise<unknown> = Promise.resolve();

function enqueue(draw: (library: Plotly) => unknown): Promise<unknown> {
  const next = queue.then(async () => {
    const library = await plotly();
    await new Promise((resolve) => setTimeout(resolve));
    await draw(library);
  });
  queue = next.catch(() => undefined);
  return next;
}

export function Plot({ figure, class: name }: { figure: Figure; class?: string }) {
  const place = useRef<HTMLDivElement>(null);
  const [broken, setBroken] = useState(false);
  useEffect(() => {
    let active = true;
    enqueue((library) =>
      active && place.current ? library.react(place.current, figure.data, figure.layout, CONFIG) : undefined,
    ).catch(() => active && setBroken(true));
    return () => {
      active = false;
    };
  }, [figure]);
  useEffect(() => {
    const element = place.current;
    return () => {
      if (element) void loading?.then((library) => library.purge(element));
    };
  }, []);
  return (
    <>
      {broken && (
        <p class="faint">The chart could not be loaded. The table has the same numbers; reload to try again.</p>
      )}
      {/* A picture for the eye: the grid or table beside it carries the numbers for everyone. */}
      <div
        ref={place}
        class={name}
        aria-hidden="true"
        style={{ height: `${figure.height}px`, width: figure.width ? `${figure.width}px` : '100%' }}
      />
    </>
  );
}

/** The figure as image bytes. */
export async function image(figure: Figure, format: 'png' | 'svg'): Promise<Blob> {
  const library = await plotly();
  const address = await library.toImage(
    { data: figure.data, layout: figure.layout, config: CONFIG },
    { format, width: figure.width ?? 800, height: figure.height, scale: format === 'png' ? 2 : 1 },
  );
  // A data: address; decoded here, since fetching it would need a wider content policy.
  const [head = '', body = ''] = [address.slice(0, address.indexOf(',')), address.slice(address.indexOf(',') + 1)];
  const text = head.includes(';base64') ? atob(body) : decodeURIComponent(body);
  const bytes = head.includes(';base64')
    ? Uint8Array.from(text, (c) => c.charCodeAt(0))
    : new TextEncoder().encode(text);
  return new Blob([bytes], { type: format === 'png' ? 'image/png' : 'image/svg+xml' });
}

export function save(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
