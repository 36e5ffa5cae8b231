// The state of an experiment as text, and its estimated time.
import type { AnySpec, PromptsSpec, AnalysisSpecInput, Experiment, Health, Progress, Stage, State } from '../api/wire';
import { CHOICES } from '../api/vocabulary';
import { kindOf } from '../kinds';
import { labelsOf } from '../model/fields';
import { optionsOf } from '../model/patchingOptions';
import { duration, plural } from './numbers';
import { isAnalysis } from './titles';

export const FINAL: readonly State[] = ['succeeded', 'failed', 'cancelled'];
export const isFinal = (state: State): boolean => FINAL.includes(state);

export const pairsOf = (prompts: PromptsSpec): number =>
  prompts.source === 'custom' ? prompts.pairs.length : prompts.pairs;

export const requestedPairs = (spec: Pick<AnalysisSpecInput, 'prompts'>): number => pairsOf(spec.prompts);

/** What a run of this kind counts: "pair", "set", "step". */
export const unitOf = ({ kind }: AnySpec): string => kindOf(kind)?.unit ?? 'pair';

/** Total number of units: from the run's progress, else from the spec; null if only the run will know. */
export function totalOf({ spec, progress }: Pick<Experiment, 'spec' | 'progress'>): number | null {
  const kind = kindOf(spec.kind);
  const reported = kind?.totalFromSpec ? null : progress.total;
  return reported ?? kind?.total?.(spec) ?? null;
}

export const shortRevision = (revision: string): string => revision.slice(0, 8);

export const STATE_LABELS: Record<State, string> = labelsOf(CHOICES.State);

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
  return `${COUNTED[progress.stage] ?? progress.stage.replace(/_/g, ' ')} ${progress.done}${total}${layer}`;
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
 * False if no result can exist: a failed run has none, a cancelled one has one if a unit was finished. Avoids a request
 * that would only be refused.
 */
export function mayHaveResult(row: Pick<Experiment, 'kind' | 'state' | 'progress' | 'error'>): boolean {
  if (row.state === 'succeeded') return true;
  const kind = kindOf(row.kind);
  return kind?.mayHaveResult?.(row) ?? (row.state !== 'failed' && row.progress.done > 0);
}

/** What remains of a cancelled experiment. */
export function cancelledLine(spec: AnySpec, kept: number | null, requested: number | null): string {
  const unit = unitOf(spec);
  if (kept === null || kept === 0) return `Cancelled before the first ${unit} was finished: there is no result.`;
  const of = requested === null ? plural(kept, unit) : `${kept} of ${plural(requested, unit)}`;
  const remains = kindOf(spec.kind)?.remains?.(kept) ?? `the result over ${kept} is kept`;
  return `Cancelled after ${of}: ${remains}.`;
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
