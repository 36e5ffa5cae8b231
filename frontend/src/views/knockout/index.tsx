// Knock-outs of the components of an analysis.
import { CHOICES, FIELDS } from '../../api/vocabulary';
import type { KnockoutSpec } from '../../api/wire';
import type { ExperimentKind } from '../../kinds';
import { pairsOf } from '../../text/experiment';
import { componentsSummary } from '../../text/knockout';
import { KnockoutPage } from './knockout';
import { KnockoutList } from './list';

export const kind: ExperimentKind<KnockoutSpec> = {
  kind: 'knockout',
  title: (spec) => `Knock-out of ${componentsSummary(spec)}`,
  method: ({ ablation }) => `knock-out, ${CHOICES.Ablation[ablation ?? FIELDS.knockout.ablation.default].label}`,
  total: ({ prompts }) => (prompts ? pairsOf(prompts) : null),
  Page: KnockoutPage,
  panel: {
    name: 'knockouts',
    title: 'Knock out',
    description: 'What the model still answers without these components, compared with the same number of random ones.',
    order: 100,
    Panel: KnockoutList,
  },
};
