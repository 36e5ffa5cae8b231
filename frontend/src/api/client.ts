// Calls of the API. Every failure becomes an ApiError: what, why, and the way out, to be shown where it happened.
import { api } from '../root';
import type {
  PromptsSpec,
  AnalysisSpecInput,
  AttentionPattern,
  Experiment,
  ExperimentEdit,
  ExperimentList,
  FineTuneSpec,
  Health,
  KnockoutSpec,
  ModelCard,
  Preview,
  Problem,
  SystemReport,
  TransferSpec,
  Upload,
} from './wire';
import type { AnyResult, KeyReport, LensReport, RoleReport, StagesReport, WritesReport } from './results';
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
export const result = (id: string, signal?: AbortSignal) => get<AnyResult>(at(id, '/result'), signal);
/** Experiments on the components of an analysis. */
export const childrenOf = (id: string, signal?: AbortSignal) =>
  get<ExperimentList>(`experiments?parent=${encodeURIComponent(id)}&limit=100`, signal);

const MOST_PAGES = 5;

/** The newest fine-tunings of a model: at most five pages of them. */
export async function fineTuningsOf(model: string, signal?: AbortSignal): Promise<Experiment[]> {
  const items: Experiment[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const after: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const list: ExperimentList = await get(
      `experiments?kind=fine_tune&model=${encodeURIComponent(model)}&limit=200${after}`,
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
export async function submit(
  spec: AnalysisSpecInput | KnockoutSpec | TransferSpec | FineTuneSpec,
): Promise<{ experiment: Experiment; existing: boolean }> {
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

/** Requests a report that a worker computes on demand, with growing pauses until it is there. */
async function computed<T>(path: string, what: string, signal: AbortSignal): Promise<T> {
  for (let waited = 0, step = 0; waited < WAIT_S; waited += step) {
    const response = await call(path, { signal });
    if (response.status !== 202) return (await response.json()) as T;
    const retryAfter = Number(response.headers.get('Retry-After')) || 1;
    step = Math.min(LONGEST_PAUSE_S, Math.max(retryAfter, 1.3 * step));
    await pause(step * 1000, signal);
  }
  throw new ApiError({
    title: `${what} is taking too long`,
    status: 202,
    detail: 'No worker has computed it yet.',
    way_out: 'Try again, or come back later: the result is stored once it has been computed.',
  });
}

/** One layer's attention. */
export const attention = (id: string, layer: number, prompt: number, signal: AbortSignal) =>
  computed<AttentionPattern>(at(id, `/attention?layer=${layer}&prompt=${prompt}`), 'Attention', signal);
export const keyReport = (id: string, signal: AbortSignal) =>
  computed<KeyReport>(at(id, '/key'), 'The significance test', signal);
export const roleReport = (id: string, signal: AbortSignal) =>
  computed<RoleReport>(at(id, '/roles'), 'Attention by role', signal);
export const stagesReport = (id: string, signal: AbortSignal) =>
  computed<StagesReport>(at(id, '/stages'), 'The layer-by-layer report', signal);
export const lensReport = (id: string, prompt: number, signal: AbortSignal) =>
  computed<LensReport>(at(id, `/lens?prompt=${prompt}`), 'The logit lens', signal);
export const writesReport = (id: string, component: string, signal: AbortSignal) =>
  computed<WritesReport>(at(id, `/writes?component=${component}`), 'The effect on number tokens', signal);

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

export const exportAddress = {
  csv: (id: string, metric: string) => api(at(id, `/components.csv?metric=${metric}`)),
  csvMetadata: (id: string, metric: string) => api(at(id, `/components.csv-metadata.json?metric=${metric}`)),
  json: (id: string) => api(at(id, '/result')),
  npz: (id: string) => api(at(id, '/arrays.npz')),
  curve: (id: string) => api(at(id, '/curve.csv')),
  matrix: (id: string) => api(at(id, '/matrix.csv')),
  raw: (id: string) => api(at(id, '/raw.safetensors')),
  events: (id: string) => api(at(id, '/events')),
  adapter: (id: string) => api(at(id, '/adapter.zip')),
  deltas: (id: string) => api(at(id, '/deltas.safetensors')),
  history: (id: string) => api(at(id, '/history.csv')),
  judged: (id: string) => api(at(id, '/judged.csv')),
  repatched: (id: string) => api(at(id, '/repatched.csv')),
};
