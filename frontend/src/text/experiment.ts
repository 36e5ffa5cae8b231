// The state of an experiment as text, and its estimated time.
import type { AnySpec, PromptsSpec, AnalysisSpecInput, Experiment, Health, Progress, Stage, State } from '../api/wire';
import { optionsOf } from '../model/patchingOptions';
import { duration, plural } from './numbers';
import { isAnalysis, isFineTune } from './titles';

export const FINAL: readonly State[] = ['succeeded', 'failed', 'cancelled'];
export const isFinal = (state: State): boolean => FINAL.includes(state);

export const pairsOf = (prompts: PromptsSpec): number =>
  prompts.source === 'custom' ? prompts.pairs.length : prompts.pairs;

export const requestedPairs = (spec: Pick<AnalysisSpecInput, 'prompts'>): number => pairsOf(spec.prompts);

export type Unit = 'pair' | 'set' | 'step';

/** The unit that a run of this kind counts: prompt pairs, prompt sets, or training steps. */
export const unitOf = (spec: AnySpec): Unit =>
  spec.kind === 'transfer' ? 'set' : spec.kind === 'fine_tune' ? 'step' : 'pair';

/**
 * Total number of pairs, sets or steps: from the run's progress, else from the spec; null if only the run will know. A
 * fine-tuning also counts questions while it evaluates: those are not meant.
 */
export function totalOf({ spec, progress }: Pick<Experiment, 'spec' | 'progress'>): number | null {
  if (isFineTune(spec)) return spec.steps ?? null;
  if (progress.total != null) return progress.total;
  if (isAnalysis(spec)) return requestedPairs(spec);
  return spec.kind === 'knockout' && spec.prompts ? pairsOf(spec.prompts) : null;
}

export const shortRevision = (revision: string): string => revision.slice(0, 8);

export const STATE_LABELS: Record<State, string> = {
  queued: 'queued',
  running: 'running',
  succeeded: 'done',
  failed: 'failed',
  cancelled: 'cancelled',
};

const COUNTED: Partial<Record<Stage, string>> = {
  pairs: 'pairs',
  sets: 'sets',
  before: 'evaluating the base model: questions',
  steps: 'training: steps',
  after: 'evaluating before and after: questions',
};

/** One line: "queued (2 ahead, ~4 min)", "loading model", "pairs 24/64 (layer 12/30)", "training: steps 3/80". */
export function progressLine(state: State, progress: Progress): string {
  const eta = progress.eta_s == null ? null : `~${duration(progress.eta_s)}`;
  if (state === 'queued' || progress.stage === 'queued') {
    const ahead = progress.queue_position;
    const parts = [ahead == null ? null : ahead > 0 ? `${ahead} ahead` : 'next', eta].filter((part) => part !== null);
    return parts.length ? `queued (${parts.join(', ')})` : 'queued';
  }
  if (progress.stage === 'loading_model') return 'loading model';
  if (progress.stage === 'saving') return 'saving';
  if (progress.stage === 'done') return 'done';
  const total = progress.total == null ? '' : `/${progress.total}`;
  const layer =
    progress.layer == null || progress.layers == null ? '' : ` (layer ${progress.layer}/${progress.layers})`;
  return `${COUNTED[progress.stage] ?? 'pairs'} ${progress.done}${total}${layer}`;
}

// Pairs finish in batches of unknown size: a small guess never lets the bar run ahead.
const BATCH = 8;

/** Progress from 0 to 1, including the layers of the current batch; null while nothing can be measured. */
export function share(progress: Progress): number | null {
  if (progress.stage === 'saving' || progress.stage === 'done') return 1;
  if (COUNTED[progress.stage] === undefined || !progress.total) return null;
  if (progress.stage !== 'pairs') return Math.min(1, progress.done / progress.total);
  const layers = progress.layer != null && progress.layers ? (progress.layer - 1) / progress.layers : 0;
  const underWay = Math.min(BATCH, progress.total - progress.done) * Math.max(0, layers);
  return Math.min(1, (progress.done + underWay) / progress.total);
}

/**
 * True if a fine-tuning that did not succeed may have kept weights: it was cancelled after a step, or its loss became
 * non-finite. Avoids a request that would only be refused.
 */
export function mayHaveKeptSteps({
  state,
  progress,
  error,
}: Pick<Experiment, 'state' | 'progress' | 'error'>): boolean {
  if (state === 'failed') return error?.type.endsWith('training_broke') === true;
  const begun = progress.stage === 'steps' ? progress.done > 0 : ['after', 'saving', 'done'].includes(progress.stage);
  return state === 'cancelled' && begun;
}

/** What remains of a cancelled experiment. */
export function cancelledLine(kept: number | null, requested: number | null, unit: Unit = 'pair'): string {
  if (kept === null || kept === 0) return `Cancelled before the first ${unit} was finished: there is no result.`;
  const of = requested === null ? plural(kept, unit) : `${kept} of ${plural(requested, unit)}`;
  if (unit === 'step')
    return `Cancelled after ${of}: the weights of step ${kept.toLocaleString('en')} are kept. They were not evaluated.`;
  if (unit === 'set')
    return `Cancelled after ${of}: a partial matrix cannot be interpreted, so there is no result; running it again resumes from the finished sets.`;
  return `Cancelled after ${of}: the result over ${kept} is kept.`;
}

/** The status pill: the state of the server in one short line. */
export function healthLine(health: Health): { tone: 'good' | 'warn'; text: string } {
  if (health.store === 'down') return { tone: 'warn', text: 'store unreachable' };
  if (health.workers.length === 0) return { tone: 'warn', text: 'no worker: results are readable, new runs will wait' };
  if (health.broker === 'down') return { tone: 'warn', text: 'queue unreachable: new runs will wait' };
  if (health.running === 0 && health.waiting === 0) return { tone: 'good', text: 'idle' };
  return { tone: 'good', text: `${health.running} running, ${health.waiting} waiting` };
}

/**
 * Estimated seconds of a run, from finished runs of the same cost: same model, effect, positions, source and chat
 * template. Null without any.
 */
export function estimate(
  done: readonly Experiment[],
  spec: Pick<AnalysisSpecInput, 'model' | 'effect' | 'positions' | 'source' | 'prompts'>,
  pairs: number,
): number | null {
  const cost = (of: typeof spec) => {
    const { effect, positions, source } = optionsOf(of);
    return JSON.stringify([of.model, effect, positions, source, of.prompts.chat ?? false]);
  };
  const timed = done.flatMap((run) => {
    if (run.state !== 'succeeded' || !isAnalysis(run.spec) || cost(run.spec) !== cost(spec)) return [];
    if (!run.started_at || !run.finished_at) return [];
    const seconds = (Date.parse(run.finished_at) - Date.parse(run.started_at)) / 1000;
    return seconds > 0 ? [{ seconds, pairs: run.progress.total ?? requestedPairs(run.spec) }] : [];
  });
  if (timed.length === 0) return null;
  // A run has a fixed cost and a cost per pair: take the run nearest in size, and never scale below its own time.
  const nearest = timed.reduce((best, run) =>
    Math.abs(run.pairs - pairs) < Math.abs(best.pairs - pairs) ? run : best,
  );
  // One pair says nothing about many.
  if (pairs > 8 * nearest.pairs) return null;
  return nearest.seconds * Math.max(1, pairs / Math.max(1, nearest.pairs));
}
