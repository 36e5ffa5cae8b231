// A fine-tuning as code: Python, a command line, and an HTTP request.
import type { FineTuneResult } from '../api/fineTune';
import { FIELDS } from '../api/vocabulary';
import type { FineTuneSpec } from '../api/wire';

const SET = FIELDS.template;

/** A Python string literal: JSON's escapes are also Python's. */
const py = (text: string): string => JSON.stringify(text);

const pythonLiteral = (value: unknown): string =>
  value === null ? 'None' : value === true ? 'True' : value === false ? 'False' : JSON.stringify(value);

type TrainedResult = Pick<FineTuneResult, 'experiment_id' | 'spec' | 'model'>;

/** Python that applies the trained weights, or trains again. */
export function python({ experiment_id, spec, model }: TrainedResult): string {
  const settings: [string, unknown][] = [
    ['steps', spec.steps],
    ['learning_rate', spec.learning_rate],
    ['batch_size', spec.batch_size],
    ['weight_decay', spec.weight_decay],
    ['schedule', spec.schedule],
    ['warmup', spec.warmup],
    ['clip', spec.clip],
    ['tune', spec.tune],
    ['biases', spec.biases],
    ['head_scale', spec.head_scale],
    ['accumulate', spec.accumulate],
    ['checkpointing', spec.checkpointing],
    ['tuner', spec.tuner],
    ['seed', spec.seed],
  ];
  const lines = settings.flatMap(([name, value]) =>
    value === undefined ? [] : [`    ${name}=${pythonLiteral(value)},`],
  );
  return [
    'from arithmoscope import Deltas, PromptPair, fine_tune, load_model',
    '',
    `model = load_model(${py(spec.model)})  # ${model.revision.slice(0, 12)}`,
    '',
    '# What was kept, as it was downloaded:',
    `tuned = Deltas.load(${py(`${experiment_id}.deltas.safetensors`)}).apply(model)`,
    '',
    '# Or train again, on questions of your own:',
    'pairs = [PromptPair(reference="17 + 25 =", counterfactual="17 @ 25 =", answer="42")]',
    'again = fine_tune(',
    '    model,',
    `    ${pythonLiteral(spec.components ?? [])},`,
    '    pairs,',
    ...lines,
    ')',
    '',
  ].join('\n');
}

/** The command line; null if its flags cannot express the spec. */
export function command(spec: FineTuneSpec): string | null {
  const { prompts } = spec;
  if (
    prompts.source !== 'template' ||
    prompts.seed !== SET.seed.default ||
    prompts.corruption !== SET.corruption.default
  )
    return null;
  if (prompts.half || prompts.chat || spec.test || spec.validation) return null;
  const flags: [string, unknown][] = [
    ['model', spec.model],
    ['components', (spec.components ?? []).join(',') || null],
    ['tuner', spec.tuner],
    ['topic', prompts.topic],
    ['operations', prompts.operations],
    ['styles', prompts.styles],
    ['wording', prompts.wording],
    ['numerals', prompts.numerals],
    ['decimals', prompts.decimals],
    ['operands', prompts.operands],
    ['pairs', prompts.pairs],
    ['shots', prompts.shots],
    ['steps', spec.steps],
    ['batch-size', spec.batch_size],
    ['learning-rate', spec.learning_rate],
    ['schedule', spec.schedule],
    ['warmup', spec.warmup],
    ['weight-decay', spec.weight_decay],
    ['clip', spec.clip === null ? 0 : spec.clip],
    ['tune', spec.tune],
    ['biases', spec.biases],
    ['head-scale', spec.head_scale],
    ['accumulate', spec.accumulate],
    ['checkpointing', spec.checkpointing],
    ['validate-every', spec.validate_every],
    ['seed', spec.seed],
  ];
  const plain = (value: unknown): string =>
    /^[\w.,/-]+$/.test(String(value)) ? String(value) : shellQuoted(String(value));
  const parts = flags.flatMap(([name, value]) => {
    if (value === undefined || value === null || value === false) return [];
    if (value === true) return [`--${name}`];
    return [`--${name} ${Array.isArray(value) ? value.map(plain).join(' ') : plain(value)}`];
  });
  return ['arithmoscope fine-tune', ...parts].join(' \\\n  ') + '\n';
}

/** The HTTP request as a curl command. Quotes inside the JSON cannot end the argument. */
export const curl = (spec: FineTuneSpec, experiments: string): string =>
  [
    `curl -X POST ${shellQuoted(experiments)} \\`,
    "  -H 'Content-Type: application/json' \\",
    `  -d ${shellQuoted(JSON.stringify(spec))}`,
    '',
  ].join('\n');

/** Quotes for a POSIX shell: inside single quotes only a single quote is special. */
export const shellQuoted = (text: string): string => `'${text.replace(/'/g, "'\\''")}'`;
