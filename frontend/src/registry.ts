// Finds every kind of experiment and every panel by its place: views/KIND/index.tsx, views/panels/PANEL.tsx.
import { addKinds, type ExperimentKind } from './kinds';
import { addPanels, type AnalysisPanel } from './panels';

export const KIND_FILES = import.meta.glob<ExperimentKind>('./views/*/index.tsx', { eager: true, import: 'kind' });
export const PANEL_FILES = import.meta.glob<AnalysisPanel>('./views/panels/*.tsx', { eager: true, import: 'panel' });

const kinds = Object.values(KIND_FILES);
addKinds(kinds);
addPanels([...Object.values(PANEL_FILES), ...kinds.flatMap(({ panel }) => panel ?? [])]);
