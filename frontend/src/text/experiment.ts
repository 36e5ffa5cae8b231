// An experiment in words: its title, where it stands, how long it may take.
import type { AskedSpec, Experiment, Health, Operation, Progress, Spec, State } from '../api/wire';
import { optionsOf } from '../model/options';
import { clip, lastLine, visible } from './tokens';
import { duration, plural } from './numbers';

export const OPERATION_WORDS: Record<Operation, string> = {
  add: 'addition',
  subtract: 'subtraction',
  multiply: 'multiplication',
  divide: 'division',
  power: 'powers',
};

type Topic = NonNullable<Extract<Spec['prompts'], { source: 'template' }>['topic']>;
/** What a set is about, unless it is the operations themselves. */
const TOPIC_WORDS: Record<Exclude<Topic, 'question'>, string> = {
  year_span: 'year span',
  counting: 'counting',
  word_problem: 'word problem',
  facts: 'fact',
  grammar: 'grammar',
  antonyms: 'antonym',
  sequences: 'sequence',
};

export const FINAL: readonly State[] = ['succeeded', 'failed', 'cancelled'];
export const isFinal = (state: State): boolean => FINAL.includes(state);

/** "3 + 5 =", "3 + 5 = and 11 more", "34 addition prompts", "3 + 5 = (chat)". `kept`: pairs in the numbers. */
export function title(spec: Pick<Spec, 'prompts'>, kept?: number): string {
  return spec.prompts.chat ? `${questions(spec.prompts, kept)} (chat)` : questions(spec.prompts, kept);
}

/** What people call it, or what was asked. */
export const nameOf = (experiment: Pick<Experiment, 'name' | 'spec'>, kept?: number): string =>
  experiment.name?.trim() || title(experiment.spec, kept);

function questions(prompts: Spec['prompts'], kept?: number): string {
  if (prompts.source === 'custom') {
    const first = clip(visible(lastLine(prompts.pairs[0]?.reference ?? '') || ' '), 48);
    const more = prompts.pairs.length - 1;
    return more > 0 ? `${first} and ${more} more` : first;
  }
  const count = kept ?? prompts.pairs;
  const about = prompts.topic ?? 'question';
  const kinds =
    about === 'question'
      ? prompts.operations.map((operation) => OPERATION_WORDS[operation]).join(' and ')
      : TOPIC_WORDS[about];
  return `${count.toLocaleString('en')} ${kinds} ${count === 1 ? 'prompt' : 'prompts'}`;
}

export const askedPairs = (spec: Pick<AskedSpec, 'prompts'>): number =>
  spec.prompts.source === 'custom' ? spec.prompts.pairs.length : spec.prompts.pairs;

export const shortRevision = (revision: string): string => revision.slice(0, 8);

export const STATE_WORDS: Record<State, string> = {
  queued: 'queued',
  running: 'running',
  succeeded: 'done',
  failed: 'failed',
  cancelled: 'cancelled',
};

/** One line: "queued (2 ahead, ~4 min)", "loading model", "pairs 24/64 (layer 12/30)", "saving". */
export function progressLine(state: State, progress: Progress): string {
  const eta = progress.eta_s == null ? null : `~${duration(progress.eta_s)}`;
  if (state === 'queued' || progress.stage === 'queued') {
    const ahead = progress.queue_position;
    const words = [ahead == null ? null : ahead > 0 ? `${ahead} ahead` : 'next', eta].filter((word) => word !== null);
    return words.length ? `queued (${words.join(', ')})` : 'queued';
  }
  if (progress.stage === 'loading_model') return 'loading model';
  if (progress.stage === 'saving') return 'saving';
  if (progress.stage === 'done') return 'done';
  const total = progress.total == null ? '' : `/${progress.total}`;
  const layer =
    progress.layer == null || progress.layers == null ? '' : ` (layer ${progress.layer}/${progress.layers})`;
  return `pairs ${progress.done}${total}${layer}`;
}

// Pairs are finished in batches whose size is not told: a small guess never lets the bar run ahead.
const BATCH = 8;

/** 0 to 1 along the pairs, the layers of the batch under way included; null while nothing can be measured. */
export function share(progress: Progress): number | null {
  if (progress.stage === 'saving' || progress.stage === 'done') return 1;
  if (progress.stage !== 'pairs' || !progress.total) return null;
  const layers = progress.layer != null && progress.layers ? (progress.layer - 1) / progress.layers : 0;
  const underWay = Math.min(BATCH, progress.total - progress.done) * Math.max(0, layers);
  return Math.min(1, (progress.done + underWay) / progress.total);
}

/** What became of a cancelled experiment, told truthfully. */
export function cancelledLine(kept: number | null, asked: number): string {
  return kept === null || kept === 0
    ? 'Cancelled before the first pairs were finished: there is no result.'
    : `Cancelled after ${kept} of ${plural(asked, 'pair')}: the result over ${kept} is kept.`;
}

/** The pill: what the server is doing, in one short line. */
export function healthLine(health: Health): { tone: 'good' | 'warn'; text: string } {
  if (health.store === 'down') return { tone: 'warn', text: 'the store cannot be reached' };
  if (health.workers.length === 0) return { tone: 'warn', text: 'no worker: results are readable, new runs will wait' };
  if (health.broker === 'down') return { tone: 'warn', text: 'queue unreachable: new runs will wait' };
  if (health.running === 0 && health.waiting === 0) return { tone: 'good', text: 'idle' };
  return { tone: 'good', text: `${health.running} running, ${health.waiting} waiting` };
}

/** Seconds a run may take, from finished runs at hand that cost alike: the same model, effect, positions, source and chat. Null without any. */
export function estimate(
  done: readonly Experiment[],
  spec: Pick<AskedSpec, 'model' | 'effect' | 'positions' | 'source' | 'prompts'>,
  pairs: number,
): number | null {
  const cost = (of: typeof spec) => {
    const { effect, positions, source } = optionsOf(of);
    return JSON.stringify([of.model, effect, positions, source, of.prompts.chat ?? false]);
  };
  const runs = done.filter((run) => run.state === 'succeeded' && cost(run.spec) === cost(spec));
  const timed = runs.flatMap((run) => {
    if (!run.started_at || !run.finished_at) return [];
    const seconds = (Date.parse(run.finished_at) - Date.parse(run.started_at)) / 1000;
    return seconds > 0 ? [{ seconds, pairs: run.progress.total ?? askedPairs(run.spec) }] : [];
  });
  if (timed.length === 0) return null;
  // A run costs something to start and something a pair: the nearest run in size, never scaled below its own time.
  const nearest = timed.reduce((best, run) =>
    Math.abs(run.pairs - pairs) < Math.abs(best.pairs - pairs) ? run : best,
  );
  // From one pair to many nothing can be said.
  if (pairs > 8 * nearest.pairs) return null;
  return nearest.seconds * Math.max(1, pairs / Math.max(1, nearest.pairs));
}
