// One analysis: its progress, whether to believe it, the map of effects, and the chosen component.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { models as loadModels, restore } from '../../api/client';
import type { Metric, Problem, Result } from '../../api/wire';
import { same, type Component } from '../../model/component';
import { fromPartial, fromResult, type EffectTable, type Shape } from '../../model/effects';
import { shownPair } from '../../model/pairs';
import { navigate, type Address } from '../../nav';
import { page } from '../../root';
import { defaultMetric, readView, writeView, type View } from '../../route';
import { isFinal, nameOf } from '../../text/experiment';
import { useLoad } from '../../ui/hooks';
import { Link, Notice, TroubleBlock, troubleOf } from '../../ui/parts';
import { ComponentPanel } from './component';
import { EffectsMap } from './effectsMap';
import { Header } from './header';
import { Ending, RunProgress } from './progress';
import { Ranking } from './ranking';
import { useRun } from './run';
import { Sanity } from './sanity';

export function Workspace({ id, address }: { id: string; address: Address }) {
  const run = useRun(id);
  const { seen, result, trouble } = run;
  const row = seen?.experiment;
  const spec = row?.spec;
  useEffect(() => {
    document.title = row ? `${nameOf(row, result?.pairs.length)} · Arithmoscope` : 'Analysis · Arithmoscope';
  }, [row?.name, spec, result]);

  if (!seen || !spec) {
    return (
      <div class="narrow">
        <h1 tabIndex={-1}>Analysis</h1>
        {trouble ? (
          <TroubleBlock problem={trouble}>
            <p>
              <Link to={page('')}>Start from the first page</Link>
            </p>
          </TroubleBlock>
        ) : (
          <p class="faint">Opening…</p>
        )}
      </div>
    );
  }
  if (seen.link === 'gone') return <Gone id={id} name={nameOf(seen.experiment)} again={run.again} />;
  return <Opened run={run} seen={seen} id={id} address={address} result={result} />;
}

/** Somebody deleted it while it was looked at, here or elsewhere. */
function Gone({ id, name, again }: { id: string; name: string; again: () => void }) {
  const [trouble, setTrouble] = useState<Problem | null>(null);
  const back = () =>
    restore(id).then(
      () => again(),
      (reason: unknown) => setTrouble(troubleOf(reason)),
    );
  return (
    <div class="narrow">
      <h1 tabIndex={-1}>
        <bdi>{name}</bdi>
      </h1>
      <Notice>This analysis was deleted. For a day it can be brought back.</Notice>
      <div class="row">
        <button type="button" onClick={() => void back()}>
          Bring it back
        </button>
        <Link to={page('')}>Start from the first page</Link>
      </div>
      {trouble && <TroubleBlock problem={trouble} />}
    </div>
  );
}

interface OpenedProps {
  run: ReturnType<typeof useRun>;
  seen: NonNullable<ReturnType<typeof useRun>['seen']>;
  id: string;
  address: Address;
  result: Result | null;
}

function Opened({ run, seen, id, address, result }: OpenedProps) {
  const { experiment, partial } = seen;
  const done = isFinal(experiment.state);
  // The model's shape, to draw the empty map before the first numbers.
  const cards = useLoad('models', loadModels);
  const shape: Shape | null =
    result?.model ?? cards.data?.find(({ id: model }) => model === experiment.spec.model) ?? null;

  const metrics = useMemo<readonly Metric[]>(
    () => (result ? experiment.spec.metrics.filter((name) => result.metrics[name]) : experiment.spec.metrics),
    [experiment.spec.metrics, result],
  );
  const { view, notices } = shape
    ? readView(address.search, {
        layers: shape.layers,
        heads: shape.heads,
        metrics,
        prompts: result?.pairs.map(({ index }) => index) ?? null,
      })
    : { view: { view: 'map' as const, sel: null, prompt: null, metric: defaultMetric(metrics) }, notices: [] };

  const table = useMemo<EffectTable | null>(() => {
    if (result) return fromResult(result, view.metric);
    // A run that ended without a result has nothing to wait for, but what was seen stays.
    return shape && (!done || partial) ? fromPartial(shape, view.metric, experiment.spec.direction, partial) : null;
  }, [result, partial, view.metric, experiment.spec.direction, shape?.layers, shape?.heads, shape?.kv_heads, done]);

  const change = (part: Partial<View>, replace = false) =>
    navigate(`${location.pathname}${writeView(address.search, part, metrics)}`, { replace });
  const best = table?.ranking[0] ?? null;
  const selected: Component | null = view.sel ?? best;
  const select = (component: Component | null, step = false) =>
    // What matters most is the default, which leaves the address.
    change({ sel: component && !same(component, best) ? component : null }, step);

  return (
    <div class="workspace">
      <Header
        experiment={experiment}
        result={result}
        table={table}
        metric={view.metric}
        metrics={metrics}
        onMetric={(metric) => change({ metric })}
        put={run.put}
      />
      {address.note && <Notice>{address.note}</Notice>}
      {notices.map((notice) => (
        <Notice key={notice} tone="warn">
          {notice}
        </Notice>
      ))}
      {!done && <RunProgress seen={seen} put={run.put} />}
      <Ending
        experiment={experiment}
        kept={result ? result.pairs.length + result.dropped.length : null}
        again={run.again}
      />
      {run.trouble && (
        <TroubleBlock problem={run.trouble}>
          <button type="button" onClick={run.again}>
            Try again
          </button>
        </TroubleBlock>
      )}
      {done && !result && !run.empty && !run.trouble && <p class="faint">Opening the result…</p>}
      {result && <Sanity result={result} metric={view.metric} />}
      {table && (
        <div class="panels">
          <section class="panel effects" aria-label="Effects">
            <Tabs view={view.view} onView={(panel) => change({ view: panel })} />
            <div role="tabpanel" id="effects-panel" aria-labelledby={`tab-${view.view}`}>
              {view.view === 'map' ? (
                <EffectsMap table={table} selected={selected} onSelect={(component) => select(component)} />
              ) : (
                <Ranking table={table} selected={selected} onSelect={(component) => select(component)} />
              )}
            </div>
          </section>
          {selected && (
            <ComponentPanel
              id={id}
              table={table}
              result={result}
              selected={selected}
              prompt={view.prompt}
              onSelect={(component, step) => select(component, step)}
              onPrompt={(prompt) =>
                change({ prompt: result && shownPair(result, null)?.index === prompt ? null : prompt })
              }
            />
          )}
        </div>
      )}
    </div>
  );
}

const TABS = [
  ['map', 'Map'],
  ['ranking', 'Ranking'],
] as const;

function Tabs({ view, onView }: { view: View['view']; onView: (view: View['view']) => void }) {
  return (
    <div
      class="tabs"
      role="tablist"
      aria-label="Effects as"
      onKeyDown={(event) => {
        if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
        const other = view === 'map' ? 'ranking' : 'map';
        onView(other);
        event.currentTarget.querySelector<HTMLElement>(`#tab-${other}`)?.focus();
      }}
    >
      {TABS.map(([name, words]) => (
        <button
          key={name}
          id={`tab-${name}`}
          type="button"
          role="tab"
          aria-selected={view === name}
          aria-controls="effects-panel"
          tabIndex={view === name ? 0 : -1}
          onClick={() => onView(name)}
        >
          {words}
        </button>
      ))}
    </div>
  );
}
