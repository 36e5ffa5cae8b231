// The page of a fine-tuning: training, evaluation, and comparison with controls.
import type { FineTuneResult } from '../../api/fineTune';
import { CHOICES, FIELDS } from '../../api/vocabulary';
import type { FineTuneSpec } from '../../api/wire';
import { formatted } from '../../model/fields';
import { fineTuneUrl } from '../../model/fineTuneUrl';
import { notJudged } from '../../model/fineTuneReport';
import type { ExperimentViewProps } from '../../model/run';
import { isFinal, shortRevision } from '../../text/experiment';
import { duration, plural } from '../../text/numbers';
import { title } from '../../text/titles';
import { TUNER_NAMES } from '../../text/fineTune';
import { Notice } from '../../ui/parts';
import { EditAndRun } from '../experiment/editAndRun';
import { ExperimentHeader } from '../experiment/header';
import { RunState } from '../experiment/runState';
import { Comparison } from './comparison';
import { CodeFold } from './code';
import { Downloads } from './downloads';
import { EvaluationPanel } from './evaluation';
import { Lineage } from './lineage';
import { SplitFacts, TunableFacts, trainedSummary } from './preview';
import { QuestionPanel } from './questionTable';
import { RepatchingPanel } from './repatching';
import { TrainingPanel } from './training';

const TERMS = FIELDS.fine_tune;

export function FineTunePage({ run, id, address }: ExperimentViewProps) {
  const { experiment, training } = run.seen;
  const spec = experiment.spec as FineTuneSpec;
  const result = run.result as FineTuneResult | null;
  const curve = result?.curve ?? training ?? null;
  return (
    <div class="workspace tuning">
      <ExperimentHeader
        experiment={experiment}
        put={run.put}
        facts={
          <>
            <span>
              {result?.model.name ?? spec.model}
              {result && <span class="faint">@{shortRevision(result.model.revision)}</span>}
            </span>
            <span data-testid="done">{methodLine(spec)}</span>
          </>
        }
        after={
          <>
            {result && <Downloads id={id} result={result} />}
            {isFinal(experiment.state) && <EditAndRun spec={spec} to={fineTuneUrl(spec)} />}
          </>
        }
      />
      {address.note && <Notice>{address.note}</Notice>}
      <RunState run={run} kept={result ? result.kept : null} />
      <Lineage spec={spec} result={result} />
      {result && <EndNotice result={result} />}
      {result && <TrainedPanel result={result} />}
      {curve && curve.steps.length > 0 && <TrainingPanel curve={curve} live={!isFinal(experiment.state)} />}
      {result?.evaluation && <EvaluationPanel evaluation={result.evaluation} />}
      {result?.evaluation && <QuestionPanel evaluation={result.evaluation} />}
      {result?.evaluation &&
        (result.evaluation.repatched ? (
          <RepatchingPanel result={result} repatched={result.evaluation.repatched} address={address} />
        ) : (
          <p class="faint">Path patching was not repeated: the questions have no counterfactuals.</p>
        ))}
      <Comparison id={id} spec={spec} result={result} state={experiment.state} />
      {result && <CodeFold result={result} />}
      {result && <Provenance result={result} />}
    </div>
  );
}

/** "80 steps of 32 questions, learning rate 5e-4 (cosine decay), on 2,000 addition and subtraction prompts". */
function methodLine(spec: FineTuneSpec): string {
  const parts = [
    TUNER_NAMES[spec.tuner ?? TERMS.tuner.default],
    `${plural(spec.steps ?? TERMS.steps.default, 'step')} of ${plural(spec.batch_size ?? TERMS.batch_size.default, 'question')}`,
    `learning rate ${formatted(spec.learning_rate ?? TERMS.learning_rate.default)} (${CHOICES.Schedule[spec.schedule ?? TERMS.schedule.default].label})`,
    spec.weight_decay ? `weight decay ${spec.weight_decay}` : null,
    `on ${title({ prompts: spec.prompts })}`,
    `seed ${spec.seed ?? TERMS.seed.default}`,
  ];
  return parts.filter((part) => part !== null).join(', ');
}

function EndNotice({ result }: { result: FineTuneResult }) {
  const { ended, kept, spec, tuned } = result;
  const why = notJudged(result);
  if (why !== null) return <Notice tone="warn">{why}</Notice>;
  if (ended !== 'not_finite') return null;
  return (
    <Notice tone="warn">
      Training stopped on a non-finite loss.{' '}
      {tuned === null
        ? 'Nothing had been trained by then.'
        : `The weights of step ${kept} of ${spec.steps} are kept: they can be analysed, downloaded and fine-tuned again.`}
    </Notice>
  );
}

function TrainedPanel({ result: { tunable, split, spec, notes } }: { result: FineTuneResult }) {
  return (
    <section class="panel trained" aria-label="What was trained">
      <h2>What was trained</h2>
      <p>{trainedSummary(tunable).replace(' train ', ' were trained ')}</p>
      <TunableFacts tunable={tunable} tuner={spec.tuner ?? TERMS.tuner.default} />
      {tunable.components.length > 0 && (
        <details class="fold">
          <summary>
            {plural(tunable.components.length, 'component')}
            {spec.tuner === 'random' && ', drawn at random'}
          </summary>
          <p class="mono names-list">{tunable.components.join(', ')}</p>
        </details>
      )}
      <SplitFacts split={split} />
      {notes?.map((note) => (
        <p class="faint" key={note}>
          {note}
        </p>
      ))}
    </section>
  );
}

function Provenance({ result: { provenance, deltas_sha256 } }: { result: FineTuneResult }) {
  return (
    <p class="faint">
      {provenance.dtype} on {provenance.device}, PyTorch {provenance.torch}, {duration(provenance.seconds)}, prompts{' '}
      {provenance.prompt_set_hash.slice(0, 12)}
      {deltas_sha256 && `, deltas ${deltas_sha256.slice(0, 12)}`}, arithmoscope {provenance.code_version}.
    </p>
  );
}
