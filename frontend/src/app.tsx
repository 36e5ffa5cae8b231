import { useEffect, useRef, useState } from 'preact/hooks';
import { health } from './api/client';
import { kinds } from './kinds';
import { useAddress } from './nav';
import './registry';
import { page, ROOT } from './root';
import { readRoute } from './route';
import { healthLine } from './text/experiment';
import { shortcuts, useLoad } from './ui/hooks';
import { Link } from './ui/parts';
import { ThemeProvider, ThemeToggle } from './ui/theme';
import { UndoToast } from './ui/undo';
import { ExperimentPage } from './views/experiment/experiment';
import { System } from './views/system/system';

function StatusPill() {
  const { data, error } = useLoad('health', health, 5_000);
  const line = error ? { tone: 'warn' as const, text: 'server unreachable' } : data ? healthLine(data) : null;
  return (
    <span class={`pill ${line?.tone ?? ''}`} role="status" aria-label="Server" data-testid="status">
      {line && <span class="dot" aria-hidden="true" />}
      {line?.text ?? ''}
    </span>
  );
}

function NotFound({ path }: { path: string }) {
  useEffect(() => {
    document.title = 'Page not found · Arithmoscope';
  }, []);
  return (
    <div class="narrow">
      <h1 tabIndex={-1}>Page not found</h1>
      <p>
        There is no page at <code class="path">{path}</code>.
      </p>
      <p>
        <Link to={page('')}>Go to the home page</Link>
      </p>
    </div>
  );
}

function ShortcutsSwitch() {
  const [on, setOn] = useState(shortcuts.on);
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={on}
        onChange={(event) => {
          shortcuts.on = event.currentTarget.checked;
          setOn(shortcuts.on);
        }}
      />
      Single-key shortcuts: <kbd>/</kbd> prompt, <kbd>[</kbd> <kbd>]</kbd> rank, <kbd>p</kbd> pin
    </label>
  );
}

export function App() {
  const address = useAddress();
  const forms = kinds().flatMap(({ form }) => form ?? []);
  const route = readRoute(
    address.pathname,
    ROOT.pathname,
    forms.map(({ path }) => path),
  );
  const Form = route.page === 'form' ? forms.find(({ path }) => path === route.path)?.Form : undefined;
  const { page: name, ...which } = route;
  const key = [name, ...Object.values(which)].join(' ');
  const main = useRef<HTMLElement>(null);
  const before = useRef(key);
  useEffect(() => {
    if (before.current === key) return;
    before.current = key;
    // On a new page the focus moves to its heading.
    (main.current?.querySelector('h1') ?? main.current)?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [key]);
  return (
    <ThemeProvider>
      {/* Under <base>, "#main" would be a separate address: the jump is made here. */}
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
          main.current?.scrollIntoView();
        }}
      >
        Skip to content
      </a>
      <header class="bar">
        <Link to={page('')} class="brand">
          Arithmoscope
        </Link>
        <StatusPill />
        <ThemeToggle />
      </header>
      <UndoToast />
      <main id="main" ref={main} tabIndex={-1}>
        {Form && <Form address={address} />}
        {route.page === 'experiment' && <ExperimentPage key={route.id} id={route.id} address={address} />}
        {route.page === 'system' && <System />}
        {route.page === 'not_found' && <NotFound path={route.path} />}
      </main>
      <footer class="foot">
        <ShortcutsSwitch />
        <span class="row">
          <Link to={page('system')}>System</Link>
          <a href={page('api/docs')}>API</a>
        </span>
      </footer>
    </ThemeProvider>
  );
}
