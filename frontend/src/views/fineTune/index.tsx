// Fine-tunings of the components of an analysis.
import { FIELDS } from '../../api/vocabulary';
import type { FineTuneSpec } from '../../api/wire';
import type { ExperimentKind } from '../../kinds';
import { fineTuneTitle, mayHaveKeptSteps, TUNER_NAMES } from '../../text/fineTune';
import { FineTunePage } from './fineTune';
import { NewFineTune } from './form';
import { FineTuneList } from './list';

export const kind: ExperimentKind<FineTuneSpec> = {
  kind: 'fine_tune',
  title: fineTuneTitle,
  method: ({ tuner }) => `fine-tuning, ${TUNER_NAMES[tuner ?? FIELDS.fine_tune.tuner.default] ?? tuner}`,
  unit: 'step',
  smallestPart: 'step',
  progressLabel: 'Progress of this stage',
  total: ({ steps }) => steps ?? null,
  // While it evaluates, it reports questions.
  totalFromSpec: true,
  mayHaveResult: mayHaveKeptSteps,
  remains: (kept) => `the weights of step ${kept.toLocaleString('en')} are kept. They were not evaluated`,
  Page: FineTunePage,
  form: { path: 'tune', Form: NewFineTune },
  panel: {
    name: 'tunings',
    title: 'Fine-tune',
    description: 'Train only these components: does arithmetic improve, and is everything else preserved?',
    order: 110,
    Panel: FineTuneList,
  },
};
