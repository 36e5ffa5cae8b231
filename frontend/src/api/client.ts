// Calls of the API. Every failure becomes an ApiError: what, why, and the way out, to be shown where it happened.
import { api } from '../root';
import type {
  PromptsSpec,
  AnySpec,
  Experiment,
  ExperimentEdit,
  ExperimentList,
  FineTuneSpec,
  Health,
  ModelCard,
  Preview,
  Problem,
  SystemReport,
  Upload,
} from './wire';
import type { TuningPreview } from './fineTune';

export class ApiError extends Error {
  /** 0 if the server was not reached at all. */
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly wayOut: string;

  constructor(problem: Problem) {
    super(problem.detail);
    this.status = problem.status;
    this.title = problem.title;
    this.detail = problem.detail;
    this.wayOut = problem.way_out;
  }
}

export const UNREACHABLE: Problem = {
  title: 'Server unreachable',
  status: 0,
  detail: 'The server did not answer.',
  way_out: 'Check that arithmoscope serve is still running. This page keeps retrying.',
};

/** Any unsuccessful response as a problem with a way out: proxies and crashes do not send problem JSON. */
export async function readProblem(response: Response): Promise<Problem> {
  const body: unknown = await response.json().catch(() => null);
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Partial<Problem>;
  return {
    title: problem.title ?? `The server answered ${response.status}`,
    status: response.status,
    detail: problem.detail ?? (response.statusText || 'No reason was given.'),
    way_out: problem.way_out ?? 'Try again. If it happens again, check the server’s log.',
  };
}

export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(api(path), { credentials: 'same-origin', ...init });
  } catch (reason) {
    if (init.signal?.aborted) throw reason;
    throw new ApiError(UNREACHABLE);
  }
  if (!response.ok) throw new ApiError(await readProblem(response));
  return response;
}

const get = async <T>(path: string, signal?: AbortSignal): Promise<T> =>
  (await (await call(path, signal ? { signal } : {})).json()) as T;

const post = (path: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
  call(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });

const at = (id: string, rest = ''): string => `experiments/${encodeURIComponent(id)}${rest}`;

export const health = (signal?: AbortSignal) => get<Health>('health', signal);
export const models = async (signal?: AbortSignal) => (await get<{ items: ModelCard[] }>('models', signal)).items;
export const experiments = (limit: number, signal?: AbortSignal) =>
  get<ExperimentList>(`experiments?limit=${limit}`, signal);
/** Deleted experiments that can still be restored. */
export const deletedExperiments = (limit: number, signal?: AbortSignal) =>
  get<ExperimentList>(`experiments?deleted=true&limit=${limit}`, signal);
export const system = (signal?: AbortSignal) => get<SystemReport>('system', signal);
export const experiment = (id: string, signal?: AbortSignal) => get<Experiment>(at(id), signal);
/** The result of an experiment; its type follows from the kind. */
export const result = (id: string, signal?: AbortSignal) => get<object>(at(id, '/result'), signal);
/** Experiments on the components of an analysis. */
export const childrenOf = (id: string, signal?: AbortSignal) =>
  get<ExperimentList>(`experiments?parent=${encodeURIComponent(id)}&limit=100`, signal);

const MOST_PAGES = 5;

/** The newest experiments of a kind with a model: at most five pages of them. */
export async function experimentsOf(kind: string, model: string, signal?: AbortSignal): Promise<Experiment[]> {
  const items: Experiment[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const after: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const list: ExperimentList = await get(
      `experiments?kind=${kind}&model=${encodeURIComponent(model)}&limit=200${after}`,
      signal,
    );
    items.push(...list.items);
    cursor = list.next_cursor ?? null;
    if (cursor === null) break;
  }
  return items;
}

export const preview = async (model: string, prompts: PromptsSpec, signal?: AbortSignal): Promise<Preview> =>
  (await (await post('prompts/preview', { model, prompts }, signal)).json()) as Preview;

/** What a fine-tuning would train, on which questions. */
export const tuningPreview = async (spec: FineTuneSpec, signal?: AbortSignal) =>
  (await (await post('tuning/preview', spec, signal)).json()) as TuningPreview;

/** `existing` is true if the same spec was submitted before. */
export async function submit(spec: AnySpec): Promise<{ experiment: Experiment; existing: boolean }> {
  const response = await post('experiments', spec);
  return { experiment: (await response.json()) as Experiment, existing: response.status === 200 };
}

export const cancel = async (id: string) => (await (await post(at(id, '/cancel'), {})).json()) as Experiment;
export const retry = async (id: string) => (await (await post(at(id, '/retry'), {})).json()) as Experiment;

export const edit = async (id: string, change: ExperimentEdit) =>
  (await (
    await call(at(id), {
      method: 'PATCH',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(change),
    })
  ).json()) as Experiment;
export const remove = async (id: string): Promise<void> => {
  await call(at(id), { method: 'DELETE' });
};
export const restore = async (id: string) => (await (await post(at(id, '/restore'), {})).json()) as Experiment;

/** Uploads a file of prompts as it is. Its type comes from its name: browsers disagree on the type of a CSV. */
export async function upload(file: File): Promise<Upload> {
  const type = /\.(jsonl|ndjson|json)$/i.test(file.name) ? 'application/x-ndjson' : 'text/csv';
  return (await (
    await call('prompts/upload', { method: 'POST', headers: { 'Content-Type': type }, body: file })
  ).json()) as Upload;
}

// A worker first finishes its current run, which may take hours.
const WAIT_S = 1_200;
const LONGEST_PAUSE_S = 5;

/**
 * A view of a finished analysis, which a worker computes on demand: asks for it with growing pauses until it is there.
 * `query`: the prompt, component or layer that it is about.
 */
export async function getView<T>(
  id: string,
  name: string,
  signal: AbortSignal,
  query: Readonly<Record<string, string | number>> = {},
): Promise<T> {
  const parameters = Object.entries(query).map(([key, value]) => `${key}=${encodeURIComponent(value)}`);
  const path = at(id, `/${name}${parameters.length > 0 ? `?${parameters.join('&')}` : ''}`);
  for (let waited = 0, step = 0; waited < WAIT_S; waited += step) {
    const response = await call(path, { signal });
    if (response.status !== 202) return (await response.json()) as T;
    const retryAfter = Number(response.headers.get('Retry-After')) || 1;
    step = Math.min(LONGEST_PAUSE_S, Math.max(retryAfter, 1.3 * step));
    await pause(step * 1000, signal);
  }
  throw new ApiError({
    title: 'This report is taking too long',
    status: 202,
    detail: 'No worker has computed it yet.',
    way_out: 'Try again, or come back later: the result is stored once it has been computed.',
  });
}

export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException('No longer wanted', 'AbortError'));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal.addEventListener('abort', stop);
  });
}

/** The address of a file of a finished experiment, such as `curve.csv`. */
export const fileAddress = (id: string, name: string): string => api(at(id, `/${name}`));

/** The address of the events of a run. */
export const eventsAddress = (id: string): string => api(at(id, '/events'));
