// The workspace of an analysis: progress, sanity checks, the map of effects, and the selected component.
import { useMemo } from 'preact/hooks';
import { models as loadModels } from '../../api/client';
import type { Metric, Result, Spec } from '../../api/wire';
import { sameComponent, type Component } from '../../model/component';
import { fromPartial, fromResult, type EffectTable, type Shape } from '../../model/effects';
import { shownPair } from '../../model/pairs';
import type { ExperimentViewProps } from '../../model/run';
import { navigate } from '../../nav';
import { panelsAt, type PanelProps } from '../../panels';
import { defaultView, readView, writeView, type View } from '../../route';
import { isFinal } from '../../text/experiment';
import { useLoad } from '../../ui/hooks';
import { Notice } from '../../ui/parts';
import { RunState } from '../experiment/runState';
import { AnalysisPanels, ComponentPanels } from './analysisPanels';
import { ComponentPanel } from './component';
import { EffectsMap } from './effectsMap';
import { Header } from './header';
import { Pins } from './pins';
import { Ranking } from './ranking';
import { Sanity } from './sanity';

export function AnalysisPage({ run, id, address }: ExperimentViewProps) {
  const { experiment, partial } = run.seen;
  const spec = experiment.spec as Spec;
  const result = run.result as Result | null;
  const done = isFinal(experiment.state);
  // The model's shape, to draw the empty map before the first numbers.
  const cards = useLoad('models', loadModels);
  const shape: Shape | null = result?.model ?? cards.data?.find(({ id: model }) => model === spec.model) ?? null;

  const metrics = useMemo<readonly Metric[]>(
    () => (result ? spec.metrics.filter((name) => result.metrics[name]) : spec.metrics),
    [spec.metrics, result],
  );
  const panels = panelsAt().map(({ name }) => name);
  const { view, notices } = shape
    ? readView(address.search, {
        layers: shape.layers,
        heads: shape.heads,
        metrics,
        prompts: result?.pairs.map(({ index }) => index) ?? null,
        panels,
      })
    : { view: defaultView(metrics), notices: [] };

  const table = useMemo<EffectTable | null>(() => {
    if (result) return fromResult(result, view.metric);
    // A run that ended without a result has nothing to wait for, but running means stay visible.
    return shape && (!done || partial) ? fromPartial(shape, view.metric, spec.direction, partial) : null;
  }, [result, partial, view.metric, spec.direction, shape, done]);

  const change = (part: Partial<View>, replace = false) =>
    navigate(`${location.pathname}${writeView(address.search, part, { metrics, panels })}`, { replace });
  const best = table?.ranking[0] ?? null;
  const selected: Component | null = view.sel ?? best;
  const select = (component: Component | null, step = false) =>
    // The highest-ranked component is the default, which is left out of the address.
    change({ sel: component && !sameComponent(component, best) ? component : null }, step);

  const choosePrompt = (prompt: number) =>
    change({ prompt: result && shownPair(result, null)?.index === prompt ? null : prompt });

  const panelProps: PanelProps | null = result &&
    table && { id, result, table, view, selected, change, onSelect: (it) => select(it), onPrompt: choosePrompt };
  return (
    <div class="workspace">
      <Header
        experiment={experiment}
        spec={spec}
        result={result}
        cards={cards.data ?? []}
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
      <RunState run={run} kept={result ? result.pairs.length + result.dropped.length : null} />
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
              onPrompt={choosePrompt}
              pinned={view.pins.some((pin) => sameComponent(pin, selected))}
              onPin={() => change({ pins: pinsWith(view.pins, selected) })}
            >
              {panelProps && <ComponentPanels {...panelProps} />}
            </ComponentPanel>
          )}
        </div>
      )}
      {view.pins.length > 0 && (
        <Pins
          analysis={result && { id, model: result.model.id }}
          pins={view.pins}
          onSelect={(pin) => select(pin)}
          onPins={(pins) => change({ pins })}
        />
      )}
      {panelProps && <AnalysisPanels {...panelProps} />}
    </div>
  );
}

/** The pins with the component added, or removed if it was among them. */
const pinsWith = (pins: readonly Component[], component: Component): Component[] =>
  pins.some((pin) => sameComponent(pin, component))
    ? pins.filter((pin) => !sameComponent(pin, component))
    : [...pins, component];

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
      {TABS.map(([name, label]) => (
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
          {label}
        </button>
      ))}
    </div>
  );
}
