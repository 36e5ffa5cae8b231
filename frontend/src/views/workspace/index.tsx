// Analyses: path patching of every head and MLP. Their form is the home page.
import type { Result, Spec } from '../../api/wire';
import type { ExperimentKind } from '../../kinds';
import { optionsOf, shortSummary } from '../../model/patchingOptions';
import { requestedPairs } from '../../text/experiment';
import { title } from '../../text/titles';
import { Home } from '../home/home';
import { AnalysisPage } from './workspace';

export const kind: ExperimentKind<Spec, Result> = {
  kind: 'path_patching',
  title,
  method: (spec) => shortSummary(optionsOf(spec)),
  total: requestedPairs,
  pairsIn: ({ pairs }) => pairs.length,
  Page: AnalysisPage,
  form: { path: '', Form: Home },
};
