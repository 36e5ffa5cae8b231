// The panels of a finished analysis: each shows a view that the server computes on request. A file of views/panels
// exports one as `panel`; registry.ts collects them.
import type { FunctionComponent } from 'preact';
import type { Result } from './api/wire';
import type { Component } from './model/component';
import type { EffectTable } from './model/effects';
import type { View } from './route';

export interface PanelProps {
  id: string;
  result: Result;
  table: EffectTable;
  view: View;
  selected: Component | null;
  /** Changes the view, which is in the address. */
  change: (part: Partial<View>) => void;
  onSelect: (component: Component) => void;
  onPrompt: (prompt: number) => void;
}

export interface AnalysisPanel {
  /** Its name in the address of an analysis (`open=`). */
  name: string;
  title: string;
  /** The question it answers, in one line. */
  description: string;
  /** Place among the others: the smallest comes first. */
  order: number;
  /**
   * Part of the page: below the map if left out; below the selected component; or with the chosen prompt, in the panel
   * on how the answer emerges.
   */
  place?: 'component' | 'prompt';
  Panel: FunctionComponent<PanelProps>;
}

const PANELS: AnalysisPanel[] = [];

export function addPanels(rows: readonly AnalysisPanel[]): void {
  PANELS.push(...rows);
  PANELS.sort((a, b) => a.order - b.order);
}

/** The panels in a part of the page; by default those below the map. */
export const panelsAt = (place?: AnalysisPanel['place']): AnalysisPanel[] =>
  PANELS.filter((panel) => panel.place === place);
