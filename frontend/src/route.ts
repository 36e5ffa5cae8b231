// The address is the state: the path says which page, the query how it is viewed. Pure functions only.
import { DEFAULT_METRIC, FIELDS } from './api/vocabulary';
import type { Metric } from './api/wire';
import { parseComponent, type Component, componentName } from './model/component';

export type Route =
  | { page: 'form'; path: string }
  | { page: 'experiment'; id: string }
  | { page: 'system' }
  | { page: 'not_found'; path: string };

/**
 * The page at `pathname`, under the root path `root` ("/" or "/some/prefix/"). `forms`: the addresses of forms; the
 * home page is the one at ''.
 */
export function readRoute(pathname: string, root: string, forms: readonly string[]): Route {
  const bare = root.replace(/\/+$/, '');
  if (pathname !== bare && !pathname.startsWith(`${bare}/`)) return { page: 'not_found', path: pathname };
  const path = pathname.slice(bare.length).replace(/^\/+|\/+$/g, '');
  if (path === 'system') return { page: path };
  if (path === 'index.html' || forms.includes(path)) return { page: 'form', path: path === 'index.html' ? '' : path };
  const match = /^analyses\/([A-Za-z0-9_-]{1,80})$/.exec(path);
  return match?.[1] ? { page: 'experiment', id: match[1] } : { page: 'not_found', path: pathname };
}

export type Panel = 'map' | 'ranking';

/** What the workspace shows. `sel` null means the highest-ranked component; `prompt` null the first kept pair. */
export interface View {
  view: Panel;
  sel: Component | null;
  prompt: number | null;
  metric: Metric;
  /** Components kept in a list while others are inspected. */
  pins: readonly Component[];
  /** The names of the unfolded panels. */
  open: readonly string[];
}

/** The valid values of a view: known once the model's shape or the result is. */
export interface Bounds {
  layers: number;
  heads: number;
  metrics: readonly Metric[];
  prompts: readonly number[] | null;
  /** Names of the folded panels, in their order on the page. */
  panels: readonly string[];
}

export interface ReadView {
  view: View;
  notices: string[];
}

export const defaultMetric = (metrics: readonly Metric[]): Metric =>
  metrics.includes(DEFAULT_METRIC) ? DEFAULT_METRIC : (metrics[0] ?? DEFAULT_METRIC);

export const defaultView = (metrics: readonly Metric[]): View => ({
  view: 'map',
  sel: null,
  prompt: null,
  metric: defaultMetric(metrics),
  pins: [],
  open: [],
});

/** Reads the view from an address. An unknown value becomes the default, with a notice. */
export function readView(search: string, bounds: Bounds): ReadView {
  const query = new URLSearchParams(search);
  const notices: string[] = [];
  const view = defaultView(bounds.metrics);

  const panel = query.get('view');
  if (panel === 'map' || panel === 'ranking') view.view = panel;
  else if (panel !== null) notices.push(`Unknown view “${short(panel)}”: showing the map.`);

  const metric = query.get('metric');
  if (metric !== null) {
    if ((bounds.metrics as readonly string[]).includes(metric)) view.metric = metric as Metric;
    else notices.push(`The metric “${short(metric)}” was not computed: showing ${view.metric}.`);
  }

  const sel = query.get('sel');
  const componentOf = (text: string): Component | null => {
    const component = parseComponent(text);
    return component && component.layer < bounds.layers && (component.head === null || component.head < bounds.heads)
      ? component
      : null;
  };
  if (sel !== null) {
    const component = componentOf(sel);
    if (component) view.sel = component;
    else notices.push(`This model has no component “${short(sel)}”: showing the highest-ranked one.`);
  }

  const prompt = query.get('prompt');
  if (prompt !== null && bounds.prompts !== null) {
    const index = /^\d{1,6}$/.test(prompt) ? Number(prompt) : -1;
    if (bounds.prompts.includes(index)) view.prompt = index;
    else notices.push(`Prompt “${short(prompt)}” is not part of this result: showing the first one that is.`);
  }

  const pins =
    query
      .get('pins')
      ?.split(',')
      .filter((name) => name !== '') ?? [];
  const valid = [...new Set(pins)].flatMap((name) => componentOf(name) ?? []).slice(0, MAX_PINS);
  if (valid.length < pins.length) notices.push('Some pins in the address are invalid and were left out.');
  view.pins = valid;

  const open =
    query
      .get('open')
      ?.split(',')
      .filter((name) => name !== '') ?? [];
  view.open = bounds.panels.filter((name) => open.includes(name));
  const unknown = open.find((name) => !bounds.panels.includes(name));
  if (unknown !== undefined) notices.push(`Unknown panel “${short(unknown)}”.`);
  return { view, notices };
}

/** As many as one knock-out accepts. */
const MAX_PINS = FIELDS.knockout.components.maxLength;

/** `search` with part of the view changed; null and defaults are left out. Unknown parameters stay. */
export function writeView(
  search: string,
  change: Partial<View>,
  { metrics, panels }: Pick<Bounds, 'metrics' | 'panels'>,
): string {
  const query = new URLSearchParams(search);
  const set = (name: string, value: string | null) => (value === null ? query.delete(name) : query.set(name, value));
  if (change.view !== undefined) set('view', change.view === 'map' ? null : change.view);
  if (change.sel !== undefined) set('sel', change.sel && componentName(change.sel));
  if (change.prompt !== undefined) set('prompt', change.prompt === null ? null : String(change.prompt));
  if (change.metric !== undefined) set('metric', change.metric === defaultMetric(metrics) ? null : change.metric);
  if (change.pins !== undefined) set('pins', change.pins.map(componentName).join(',') || null);
  if (change.open !== undefined) set('open', panels.filter((name) => change.open?.includes(name)).join(',') || null);
  // A comma may stay unescaped in a query, and is easier to read.
  const text = query.toString().replace(/%2C/g, ',');
  return text ? `?${text}` : '';
}

const short = (text: string): string => (text.length > 24 ? `${text.slice(0, 24)}…` : text);
