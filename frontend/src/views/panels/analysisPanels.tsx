// The folded panels of a finished analysis. Each is loaded when it is opened.
import type { Metric, Result } from '../../api/wire';
import type { Component } from '../../model/component';
import type { EffectTable } from '../../model/effects';
import { optionsOf } from '../../model/patchingOptions';
import type { PanelName, View } from '../../route';
import { KnockoutList } from '../knockout/list';
import { FineTuneList } from '../fineTune/list';
import { FoldedPanel } from './foldedPanel';
import { KeyPanel } from './keyComponents';
import { RolesPanel } from './roles';
import { StagesPanel } from './stages';

interface AnalysisPanelsProps {
  id: string;
  result: Result;
  table: EffectTable;
  view: View;
  selected: Component | null;
  change: (part: Partial<View>) => void;
  onSelect: (component: Component) => void;
  onPrompt: (prompt: number) => void;
}

export function AnalysisPanels({ id, result, table, view, selected, change, onSelect, onPrompt }: AnalysisPanelsProps) {
  const fold = (name: PanelName) => ({
    open: view.open.includes(name),
    toggle: (open: boolean) =>
      change({ open: open ? [...view.open, name] : view.open.filter((each) => each !== name) }),
  });
  return (
    <div class="analysis-panels">
      <FoldedPanel
        name="Key components"
        description="Which components have an effect other than 0, and what share of the heads they are."
        {...fold('key')}
      >
        {() => (
          <KeyPanel
            id={id}
            metric={view.metric}
            restored={optionsOf(result.spec).direction === 'denoising'}
            onMetric={(metric: Metric) => change({ metric })}
            onSelect={onSelect}
            onPins={(pins) => change({ pins })}
          />
        )}
      </FoldedPanel>
      <FoldedPanel
        name="What heads attend to"
        description="How much attention each head pays to the operands and the operator, compared with chance."
        {...fold('roles')}
      >
        {() => <RolesPanel id={id} table={table} selected={selected} onSelect={onSelect} />}
      </FoldedPanel>
      <FoldedPanel
        name="How the answer emerges"
        description="The layers where the operands arrive and the answer appears, and the logit lens of one prompt."
        {...fold('stages')}
      >
        {() => <StagesPanel id={id} result={result} prompt={view.prompt} onPrompt={onPrompt} />}
      </FoldedPanel>
      <FoldedPanel
        name="Knock out"
        description="What the model still answers without these components, compared with the same number of random ones."
        {...fold('knockouts')}
      >
        {() => <KnockoutList id={id} result={result} metric={view.metric} pins={view.pins} />}
      </FoldedPanel>
      <FoldedPanel
        name="Fine-tune"
        description="Train only these components: does arithmetic improve, and is everything else preserved?"
        {...fold('tunings')}
      >
        {() => <FineTuneList id={id} result={result} pins={view.pins} />}
      </FoldedPanel>
    </div>
  );
}
