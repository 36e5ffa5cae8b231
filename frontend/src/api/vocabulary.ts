// Generated from arithmoscope/contracts: `make vocabulary`. Do not edit.

/** The kinds of experiment. */
export const KINDS = {
  path_patching: { label: 'Analysis', help: 'find the components whose outputs the answer depends on (path patching)' },
  knockout: { label: 'Knock-out', help: "remove components and measure the model's answers" },
  transfer: { label: 'Transfer', help: 'remove heads found on one prompt set on other sets' },
  fine_tune: { label: 'Fine-tuning', help: 'train only the key components and test the model before and after' },
} as const;

/** The fields of each spec and prompt set. `choices` is a table of `CHOICES`. */
export const FIELDS = {
  path_patching: {
    kind: { label: 'Kind', help: 'Kind of experiment' },
    model: { label: 'Model', help: 'Id of the model, as in the list of models', minLength: 1, maxLength: 200 },
    effect: {
      label: 'Effect',
      help: 'Paths from a component to the output that count',
      choices: 'Effect',
      default: 'through_mlps',
    },
    positions: {
      label: 'Patch at',
      help: "Positions at which a component's output is replaced",
      choices: 'Positions',
      default: 'end',
    },
    source: {
      label: 'Patch with',
      help: "Replacement of a component's output",
      choices: 'Source',
      default: 'counterfactual',
    },
    direction: {
      label: 'Direction',
      help: 'Corrupt a component in the reference run, or restore it in the counterfactual run',
      choices: 'Direction',
      default: 'noising',
    },
    prompts: { label: 'Prompts', help: 'Prompts to analyse: typed or uploaded, or drawn from templates' },
    metrics: {
      label: 'Metrics',
      help: 'Measures of the effect on the answer',
      minLength: 1,
      maxLength: 4,
      choices: 'Metric',
      default: ['logit', 'relative_logit', 'logit_difference'],
    },
  },
  knockout: {
    kind: { label: 'Kind', help: 'Kind of experiment' },
    parent: { label: 'Analysis', help: 'The analysis (path patching) that ranks the components' },
    components: {
      label: 'Components',
      help: 'Components to remove, in this order',
      unit: 'components',
      minLength: 1,
      maxLength: 128,
      default: null,
    },
    top_k: {
      label: 'Top k',
      help: 'Remove the k components with the most negative mean effect; 10 if none are named',
      unit: 'components',
      integer: true,
      min: 1,
      max: 128,
      default: null,
    },
    metric: {
      label: 'Rank by',
      help: 'Metric that ranks the components for top k',
      choices: 'Metric',
      default: 'relative_logit',
    },
    among: { label: 'Among', help: 'Components that top k ranks', choices: 'Among', default: 'any' },
    ablation: {
      label: 'Replace with',
      help: "Replacement of a removed component's output",
      choices: 'Ablation',
      default: 'mean',
    },
    positions: {
      label: 'Replace at',
      help: 'Positions at which outputs are replaced',
      choices: 'KnockPositions',
      default: 'end',
    },
    controls: {
      label: 'Random controls',
      help: 'Random sets of as many components of the same layers, removed for comparison',
      unit: 'draws',
      integer: true,
      min: 0,
      max: 200,
      default: 20,
    },
    prompts: { label: 'Prompts', help: 'Prompts to measure on; those of the analysis if omitted', default: null },
    disjoint: {
      label: 'Exclude operands of the analysis',
      help: 'Leave out questions with operands that the analysis used',
      default: false,
    },
    answer_tokens: {
      label: 'Generated answer tokens',
      help: 'Generate up to this many tokens and score whole answers, too (exact match)',
      unit: 'tokens',
      integer: true,
      min: 1,
      max: 16,
      default: null,
    },
    seed: {
      label: 'Seed',
      help: 'Seed of the random controls and of the replacement with another prompt',
      integer: true,
      min: 0,
      max: 2147483647,
      default: 0,
    },
  },
  transfer: {
    kind: { label: 'Kind', help: 'Kind of experiment' },
    model: { label: 'Model', help: 'Id of the model, as in the list of models', minLength: 1, maxLength: 200 },
    parent: { label: 'Analysis', help: 'The analysis that this belongs to, if any', default: null },
    found_on: {
      label: 'Find heads on',
      help: 'Prompt sets on which heads are found',
      unit: 'sets',
      minLength: 1,
      maxLength: 16,
      default: [
        { source: 'template', pairs: 32 },
        { source: 'template', operations: ['subtract'], pairs: 32 },
        { source: 'template', operations: ['multiply'], pairs: 32 },
        { source: 'template', styles: ['statement'], pairs: 32 },
        { source: 'template', styles: ['question'], pairs: 32 },
        { source: 'template', numerals: 'words', pairs: 32 },
        { source: 'template', topic: 'year_span', pairs: 32 },
        { source: 'template', topic: 'word_problem', pairs: 32 },
      ],
    },
    evaluated_on: {
      label: 'Knock out on',
      help: 'Prompt sets on which the heads of each set are knocked out',
      unit: 'sets',
      minLength: 1,
      maxLength: 16,
      default: [
        { source: 'template', pairs: 32 },
        { source: 'template', operations: ['subtract'], pairs: 32 },
        { source: 'template', operations: ['multiply'], pairs: 32 },
        { source: 'template', styles: ['statement'], pairs: 32 },
        { source: 'template', styles: ['question'], pairs: 32 },
        { source: 'template', numerals: 'words', pairs: 32 },
        { source: 'template', topic: 'year_span', pairs: 32 },
        { source: 'template', topic: 'word_problem', pairs: 32 },
        { source: 'template', topic: 'facts', pairs: 32 },
        { source: 'template', topic: 'grammar', pairs: 32 },
      ],
    },
    top_k: {
      label: 'Top k heads',
      help: 'Heads kept of each set: the k with the most negative mean effect',
      unit: 'heads',
      integer: true,
      min: 1,
      max: 128,
      default: 10,
    },
    effect: {
      label: 'Effect',
      help: 'Paths from a head to the output that count',
      choices: 'Effect',
      default: 'through_mlps',
    },
    metric: { label: 'Rank by', help: 'Metric that ranks the heads', choices: 'Metric', default: 'relative_logit' },
    ablation: {
      label: 'Replace with',
      help: "Replacement of a removed head's output",
      choices: 'Ablation',
      default: 'mean',
    },
    controls: {
      label: 'Random controls',
      help: 'Random sets of as many heads of the same layers, removed for comparison',
      unit: 'draws',
      integer: true,
      min: 0,
      max: 200,
      default: 20,
    },
    disjoint: {
      label: 'Split by operands',
      help: 'Split every set by its operands: heads are found on one half and knocked out on the other',
      default: true,
    },
    seed: {
      label: 'Seed',
      help: 'Seed of the random controls and of the replacement with another prompt',
      integer: true,
      min: 0,
      max: 2147483647,
      default: 0,
    },
  },
  fine_tune: {
    kind: { label: 'Kind', help: 'Kind of experiment' },
    model: { label: 'Model', help: 'Id of the model, as in the list of models', minLength: 1, maxLength: 200 },
    parent: { label: 'Analysis', help: 'The analysis that found the components, if any', default: null },
    tuner: {
      label: 'Parameters trained',
      help: 'Parameters that training changes; all others stay',
      choices: 'Tuner',
      default: 'precise',
    },
    components: {
      label: 'Components',
      help: 'Components to train; needed unless whole models are trained',
      unit: 'components',
      maxLength: 10000,
      default: [],
    },
    prompts: {
      label: 'Training questions',
      help: 'Questions, split by operands into three sets; if omitted, sums and differences of two digits',
      default: {
        source: 'template',
        operations: ['add', 'subtract'],
        operands: [10, 99],
        pairs: 2000,
        keep_wrong: true,
      },
    },
    validation: {
      label: 'Validation questions',
      help: 'Questions for validation; split off if omitted',
      default: null,
    },
    test: { label: 'Test questions', help: 'Questions for the final test; split off if omitted', default: null },
    steps: { label: 'Steps', help: 'Optimiser steps', unit: 'steps', integer: true, min: 1, max: 20000, default: 80 },
    batch_size: {
      label: 'Batch size',
      help: 'Questions per optimiser step',
      unit: 'questions',
      integer: true,
      min: 1,
      max: 1024,
      default: 32,
    },
    learning_rate: {
      label: 'Learning rate',
      help: 'Peak learning rate, after the warm-up',
      above: 0,
      max: 1,
      default: 0.0005,
    },
    weight_decay: { label: 'Weight decay', help: 'Weight decay of AdamW', min: 0, max: 100, default: 0 },
    schedule: {
      label: 'Schedule',
      help: 'Course of the learning rate after the warm-up',
      choices: 'Schedule',
      default: 'cosine',
    },
    warmup: {
      label: 'Warm-up',
      help: 'Share of the steps over which the learning rate rises',
      unit: 'of the steps',
      min: 0,
      max: 1,
      default: 0.05,
    },
    clip: {
      label: 'Gradient clipping (max norm)',
      help: "Largest norm of a step's gradient; none for no clipping",
      above: 0,
      max: 1000000,
      default: 1,
    },
    tune: {
      label: 'Projections trained in each head',
      help: 'If omitted, query and output under grouped-query attention, otherwise all four',
      minLength: 1,
      maxLength: 4,
      choices: 'HeadPart',
      default: null,
    },
    biases: { label: 'Train biases', help: "Train the components' biases, too", default: false },
    head_scale: {
      label: "Scale the heads' learning rate",
      help: "Multiply the heads' learning rate by H/h, as in the paper: all heads / chosen heads",
      default: false,
    },
    accumulate: {
      label: 'Gradient accumulation steps',
      help: 'Parts into which a batch is split to save memory',
      unit: 'parts',
      integer: true,
      min: 1,
      max: 1024,
      default: 1,
    },
    checkpointing: {
      label: 'Activation checkpointing',
      help: 'Recompute activations in the backward pass: less memory, more time',
      default: false,
    },
    validate_every: {
      label: 'Steps between validations',
      help: 'Optimiser steps from one validation to the next',
      unit: 'steps',
      integer: true,
      min: 1,
      max: 20000,
      default: 10,
    },
    seed: {
      label: 'Seed',
      help: 'Seed of the order of questions and of random draws',
      integer: true,
      min: 0,
      max: 2147483647,
      default: 0,
    },
  },
  custom: {
    source: { label: 'Source', help: 'Typed or uploaded prompts' },
    pairs: { label: 'Pairs', help: 'The prompts', unit: 'pairs', minLength: 1, maxLength: 10000 },
    shots: {
      label: 'Worked examples',
      help: 'Solved examples before each question; if omitted, 2 before one-line questions, none before others',
      unit: 'examples',
      integer: true,
      min: 0,
      max: 8,
      default: null,
    },
    corruption: {
      label: 'Counterfactual made by',
      help: 'Change that turns a prompt into its counterfactual',
      choices: 'Corruption',
      default: 'null_operator',
    },
    chat: {
      label: 'Chat template',
      help: "Ask as a user's turn through the model's chat template; worked examples become turns",
      default: false,
    },
    answer: {
      label: 'Answers of several tokens',
      help: 'Treatment of answers longer than one token of the model',
      choices: 'AnswerTokens',
      default: 'whole',
    },
    keep_wrong: {
      label: 'Keep wrong answers',
      help: 'Keep prompts that the model answers wrongly; otherwise they are dropped and counted',
      default: true,
    },
  },
  template: {
    source: { label: 'Source', help: 'Prompts drawn from templates' },
    topic: {
      label: 'Topic',
      help: 'Subject of the questions; the last four contain no arithmetic',
      choices: 'Topic',
      default: 'question',
    },
    wording: {
      label: 'Wordings',
      help: 'A few common wordings of a question, or all of them',
      choices: 'Wording',
      default: 'plain',
    },
    numerals: { label: 'Numbers', help: 'Numbers in digits or in words', choices: 'Numerals', default: 'digits' },
    decimals: { label: 'Decimals', help: 'Decimal places of the operands', integer: true, min: 0, max: 2, default: 0 },
    answer: {
      label: 'Answers of several tokens',
      help: 'Treatment of answers longer than one token of the model',
      choices: 'AnswerTokens',
      default: 'whole',
    },
    operations: {
      label: 'Operations',
      help: 'Operations of the questions',
      minLength: 1,
      maxLength: 5,
      choices: 'Operation',
      default: ['add'],
    },
    styles: {
      label: 'Styles',
      help: 'Forms of the questions',
      minLength: 1,
      maxLength: 3,
      choices: 'Style',
      default: ['equation'],
    },
    operands: { label: 'Range of operands', help: 'Smallest and largest operand', default: [1, 9] },
    pairs: {
      label: 'Pairs',
      help: 'Questions drawn; fewer if fewer exist',
      unit: 'pairs',
      integer: true,
      min: 1,
      max: 10000,
      default: 64,
    },
    shots: {
      label: 'Worked examples',
      help: 'Solved examples before each question; small models need them to answer at all',
      unit: 'examples',
      integer: true,
      min: 0,
      max: 8,
      default: 2,
    },
    corruption: {
      label: 'Counterfactual made by',
      help: 'Change that turns a prompt into its counterfactual',
      choices: 'Corruption',
      default: 'null_operator',
    },
    seed: {
      label: 'Seed',
      help: 'Another seed draws other questions of the same kind',
      integer: true,
      min: 0,
      max: 2147483647,
      default: 0,
    },
    chat: {
      label: 'Chat template',
      help: "Ask as a user's turn through the model's chat template; worked examples become turns",
      default: false,
    },
    keep_wrong: {
      label: 'Keep wrong answers',
      help: 'Keep prompts that the model answers wrongly; otherwise they are dropped and counted',
      default: false,
    },
    half: {
      label: 'Half of the operands',
      help: 'Only questions with operands in one half of a fixed split; the halves share no operands',
      choices: 'Half',
      default: null,
    },
  },
  pair: {
    reference: { label: 'Prompt', help: 'Prompt with the calculation, such as "3 + 5 ="', maxLength: 4000 },
    counterfactual: {
      label: 'Counterfactual',
      help: "Prompt without the calculation; if omitted, made from the prompt by the set's corruption",
      maxLength: 4000,
      default: null,
    },
    answer: {
      label: 'Answer',
      help: 'Right answer; if omitted, computed from the prompt, whose arithmetic must then be readable',
      maxLength: 64,
      default: null,
    },
  },
} as const;

/** The values of each option. Labels are lower case, as inside a sentence. */
export const CHOICES = {
  Effect: {
    direct: { label: 'direct', help: 'its direct path to the output; everything after it is frozen' },
    through_mlps: {
      label: 'through later MLPs',
      help: 'its direct path and those through later MLPs; later heads are frozen',
    },
    total: { label: 'total', help: 'every path, through later heads, too; the slowest' },
  },
  Positions: {
    end: { label: 'the last position', help: 'where the answer is read' },
    all: { label: 'all positions', help: 'every token of the prompt' },
  },
  Source: {
    counterfactual: { label: 'the counterfactual', help: 'its output on the same prompt without the calculation' },
    zero: { label: 'zero', help: 'its output is set to zero' },
    mean: { label: 'the mean', help: 'its mean output over the set' },
    resample: { label: 'another prompt', help: 'its output on a prompt drawn at random from the set' },
  },
  Direction: {
    noising: { label: 'noising', help: 'corrupt the component in the reference run' },
    denoising: { label: 'denoising', help: 'restore the component in the counterfactual run' },
  },
  Metric: {
    logit: { label: 'logit', help: "change of the answer's logit" },
    relative_logit: {
      label: 'relative logit (%)',
      help: "change of the answer's logit, in percent of its size in the reference run",
      unit: ' %',
    },
    logit_difference: {
      label: 'logit difference',
      help: "change of the difference between the answer's logit and that of the best other number",
    },
    probability: {
      label: 'probability',
      help: "change of the answer's probability; slower, because it needs every logit",
    },
  },
  Among: {
    head: { label: 'heads', help: 'only attention heads' },
    any: { label: 'heads and MLPs', help: 'attention heads and MLPs in one ranking' },
  },
  Ablation: {
    mean: { label: 'mean', help: 'its mean output over the prompts' },
    zero: { label: 'zero', help: 'zero, a state that the model has never seen' },
    resample: { label: 'another prompt', help: 'its output on another prompt of the set, drawn at random' },
  },
  KnockPositions: {
    end: { label: 'the last position', help: 'where the answer is read' },
    all: { label: 'all positions', help: 'every token of the prompt' },
    after_first: {
      label: 'all positions but the first',
      help: 'every token but the first, where idle attention rests',
    },
  },
  KnockMetric: {
    accuracy: { label: 'accuracy', help: "share of prompts whose answer is the model's first choice" },
    probability: { label: 'probability of the answer', help: 'mean over the prompts' },
    logit_difference: {
      label: 'logit difference to the best other number',
      help: "the answer's logit minus that of the best other number",
    },
    exact_match: {
      label: 'exact match of the generated answer',
      help: 'share of prompts whose answer is generated in full and ends there',
    },
  },
  Tuner: {
    precise: { label: 'precise', help: 'only the chosen components' },
    random: { label: 'random components', help: 'as many other components, drawn at random from the same layers' },
    offsets: { label: 'offsets', help: 'one trained vector added to the output of each chosen head' },
    lora: {
      label: 'LoRA',
      help: 'low-rank adapters on all weight matrices, with about as many parameters as the chosen components',
    },
    full_matrices: { label: 'all matrices', help: 'all weight matrices of all layers' },
    full: { label: 'full', help: 'every parameter of the model' },
  },
  HeadPart: {
    q: { label: 'query', help: 'the query projection' },
    k: { label: 'key', help: 'the key projection, shared by a group of heads under grouped-query attention' },
    v: { label: 'value', help: 'the value projection, shared by a group of heads under grouped-query attention' },
    o: { label: 'output', help: 'the output projection' },
  },
  Schedule: {
    cosine: { label: 'cosine decay', help: 'falls to 0 along a cosine' },
    linear: { label: 'linear decay', help: 'falls to 0 along a straight line' },
    constant: { label: 'constant', help: 'stays at its peak' },
  },
  Outcome: {
    fixed: { label: 'fixed', help: 'wrong before, right after' },
    broken: { label: 'broken', help: 'right before, wrong after' },
    right: { label: 'right before and after', help: 'right both times' },
    wrong: { label: 'wrong before and after', help: 'wrong both times' },
  },
  Topic: {
    question: { label: 'calculations', help: 'plain calculations', example: '3 + 5 =' },
    year_span: {
      label: 'spans of years',
      help: 'the end or the start of a span',
      example: 'The war lasted 5 years from 1723 to 172',
    },
    counting: {
      label: 'counting',
      help: 'two groups counted together',
      example: 'There are 3 dogs and 5 cats. The number of animals is',
    },
    word_problem: {
      label: 'word problems',
      help: 'a calculation told as a story',
      example: 'A farmer has 3 sheep and buys 5. The farmer now has',
    },
    facts: { label: 'facts', help: 'a control without arithmetic', example: 'The capital of France is' },
    grammar: { label: 'grammar', help: 'a control without arithmetic', example: 'The past tense of go is' },
    antonyms: { label: 'antonyms', help: 'a control without arithmetic', example: 'The opposite of hot is' },
    sequences: {
      label: 'sequences',
      help: 'a control without arithmetic',
      example: 'The day that comes after Monday is',
    },
  },
  Operation: {
    add: { label: 'addition', help: 'sums', example: '3 + 5' },
    subtract: { label: 'subtraction', help: 'differences', example: '5 - 3' },
    multiply: { label: 'multiplication', help: 'products', example: '3 * 5' },
    divide: { label: 'division', help: 'quotients without a remainder', example: '6 / 3' },
    power: { label: 'powers', help: 'a base and an exponent of at most 12', example: '3 ^ 2' },
  },
  Style: {
    equation: { label: 'equation', help: 'in symbols', example: '3 + 5 =' },
    statement: { label: 'statement', help: 'a sentence that ends before the answer', example: '3 plus 5 equals to' },
    question: {
      label: 'question',
      help: 'a question and the beginning of an answer',
      example: 'Q: What is the sum of 3 and 5? A:',
    },
  },
  Wording: {
    plain: { label: 'a few', help: 'a few common wordings' },
    varied: { label: 'all', help: 'all wordings, at least twelve per operation and style' },
  },
  Numerals: {
    digits: { label: 'in digits', help: 'numbers as digits', example: '12' },
    words: { label: 'in words', help: 'numbers as words', example: 'twelve' },
  },
  Corruption: {
    null_operator: {
      label: 'removing the operator',
      help: 'a sign without meaning takes its place',
      example: '3 @ 5 =',
    },
    operand_swap: { label: 'changing the operands', help: 'other operands with another answer', example: '2 + 7 =' },
    operand_swap_same_answer: {
      label: 'changing the operands, same answer',
      help: 'a control: other operands with the same answer',
      example: '2 + 6 =',
    },
    operator_swap: {
      label: 'changing the operator',
      help: 'another operation on the same operands',
      example: '3 - 5 =',
    },
  },
  AnswerTokens: {
    whole: { label: 'left out', help: 'such questions are not drawn; such a prompt of your own is refused' },
    first: { label: 'first token only', help: 'measured at their first token' },
    each: { label: 'each token', help: 'measured at every token, with those before it given' },
  },
  Half: {
    first: { label: 'first half', help: 'one half of all operands, for finding components' },
    second: { label: 'second half', help: 'the other half, for testing them' },
  },
  State: {
    queued: { label: 'queued', help: 'waits for a worker' },
    running: { label: 'running', help: 'is computed now' },
    succeeded: { label: 'done', help: 'has a result' },
    failed: { label: 'failed', help: 'ended with an error' },
    cancelled: { label: 'cancelled', help: 'was stopped by a user' },
  },
  Priority: {
    high: { label: 'high', help: 'before all others that wait' },
    normal: { label: 'normal', help: 'in the order of submission' },
    low: { label: 'low', help: 'after all others that wait' },
  },
} as const;

/** Values of an option that need certain values of others; without `values`, all but the default. */
export const EXCLUSIONS = {
  path_patching: [
    {
      option: 'positions',
      values: ['all'],
      needs: { effect: ['total'] },
      reason: 'needs the total effect',
      wayOut: "Choose the effect 'total', or positions 'end'.",
    },
    {
      option: 'direction',
      values: ['denoising'],
      needs: { source: ['counterfactual'] },
      reason: 'needs the counterfactual',
      wayOut: "Choose the source 'counterfactual', or the direction 'noising'.",
    },
    {
      option: 'source',
      values: ['mean', 'resample'],
      needs: { several_prompts: [true] },
      reason: 'needs several prompts',
      wayOut: "Use a set of prompts, or choose the source 'counterfactual' or 'zero'.",
    },
  ],
  knockout: [
    {
      option: 'top_k',
      needs: { components: [null] },
      reason: 'the components are named',
      wayOut: 'Leave one of them out.',
    },
    {
      option: 'answer_tokens',
      needs: { answer: ['whole', 'first'] },
      reason: 'this set has a pair for each token of an answer',
      wayOut: "Choose answer 'first' for the prompts, or leave answer_tokens out.",
    },
    {
      option: 'ablation',
      values: ['mean', 'resample'],
      needs: { several_prompts: [true] },
      reason: 'needs several prompts',
      wayOut: "Use several prompts of equal length, or choose the ablation 'zero'.",
    },
  ],
  fine_tune: [
    {
      option: 'components',
      values: [[]],
      needs: { tuner: ['full_matrices', 'full'] },
      reason: 'no component is named',
      wayOut: "Name components, or choose the tuner 'full'.",
    },
  ],
  template: [
    {
      option: 'styles',
      values: ['statement', 'question'],
      needs: { topic: ['question'] },
      reason: 'this topic has no styles',
      wayOut: 'Leave styles out.',
    },
    {
      option: 'operations',
      values: ['subtract', 'multiply', 'divide', 'power'],
      needs: { topic: ['question', 'year_span', 'counting', 'word_problem'] },
      reason: 'this topic has no arithmetic',
      wayOut: 'Leave operations and operands out.',
    },
    {
      option: 'operands',
      needs: { topic: ['question', 'year_span', 'counting', 'word_problem'] },
      reason: 'this topic has no arithmetic',
      wayOut: 'Leave operations and operands out.',
    },
    {
      option: 'operations',
      values: ['multiply', 'divide', 'power'],
      needs: { topic: ['question', 'counting', 'word_problem', 'facts', 'grammar', 'antonyms', 'sequences'] },
      reason: 'not an operation of this topic',
      wayOut: 'Choose among: add and subtract.',
    },
    {
      option: 'operations',
      values: ['subtract', 'multiply', 'divide', 'power'],
      needs: { topic: ['question', 'year_span', 'word_problem', 'facts', 'grammar', 'antonyms', 'sequences'] },
      reason: 'not an operation of this topic',
      wayOut: 'Choose among: add.',
    },
    {
      option: 'operations',
      values: ['power'],
      needs: { topic: ['question', 'year_span', 'counting', 'facts', 'grammar', 'antonyms', 'sequences'] },
      reason: 'not an operation of this topic',
      wayOut: 'Choose among: add and subtract and multiply and divide.',
    },
    {
      option: 'numerals',
      values: ['words'],
      needs: { topic: ['question', 'counting', 'word_problem'] },
      reason: 'this topic has no numbers to write in words',
      wayOut: "Choose numerals 'digits'.",
    },
    {
      option: 'decimals',
      values: [1, 2],
      needs: { topic: ['question'] },
      reason: 'this topic has no decimals',
      wayOut: 'Set decimals to 0.',
    },
    {
      option: 'decimals',
      values: [1, 2],
      needs: { numerals: ['digits'] },
      reason: 'decimals are written in digits',
      wayOut: "Choose numerals 'digits', or set decimals to 0.",
    },
    {
      option: 'corruption',
      values: ['operator_swap'],
      needs: { topic: ['question', 'year_span', 'word_problem', 'facts', 'grammar', 'antonyms', 'sequences'] },
      reason: 'no question of this topic has one',
      wayOut: 'Choose among: null_operator, operand_swap, operand_swap_same_answer.',
    },
    {
      option: 'corruption',
      values: ['operand_swap_same_answer'],
      needs: { topic: ['question', 'year_span', 'counting', 'word_problem', 'facts'] },
      reason: 'no question of this topic has one',
      wayOut: 'Choose among: null_operator, operand_swap, operator_swap.',
    },
  ],
} as const;

/** Topics without arithmetic. */
export const CONTROL_TOPICS = ['facts', 'grammar', 'antonyms', 'sequences'] as const;

/** The operations of each topic. */
export const TOPIC_OPERATIONS = {
  question: ['add', 'subtract', 'multiply', 'divide', 'power'],
  year_span: ['add', 'subtract'],
  counting: ['add'],
  word_problem: ['add', 'subtract', 'multiply', 'divide'],
  facts: [],
  grammar: [],
  antonyms: [],
  sequences: [],
} as const;

/** Tuners that need no components. */
export const WHOLE_TUNERS = ['full_matrices', 'full'] as const;

/** The options that a tuner ignores. */
export const IGNORED_OPTIONS = {
  offsets: ['tune', 'biases', 'head_scale'],
  lora: ['head_scale'],
  full: ['components', 'tune', 'biases', 'head_scale'],
  full_matrices: ['components', 'tune', 'biases', 'head_scale'],
} as const;

/** Prompt sets to choose from. */
export const NAMED_SETS = {
  addition: { source: 'template', pairs: 32 },
  subtraction: { source: 'template', operations: ['subtract'], pairs: 32 },
  multiplication: { source: 'template', operations: ['multiply'], pairs: 32 },
  division: { source: 'template', operations: ['divide'], pairs: 32 },
  powers: { source: 'template', operations: ['power'], pairs: 32 },
  'addition, statements': { source: 'template', styles: ['statement'], pairs: 32 },
  'addition, questions': { source: 'template', styles: ['question'], pairs: 32 },
  'addition in words': { source: 'template', numerals: 'words', pairs: 32 },
  'two-digit addition': { source: 'template', answer: 'first', operands: [10, 99], pairs: 32 },
  'spans of years': { source: 'template', topic: 'year_span', pairs: 32 },
  'word problems': { source: 'template', topic: 'word_problem', pairs: 32 },
  counting: { source: 'template', topic: 'counting', pairs: 32 },
  facts: { source: 'template', topic: 'facts', pairs: 32 },
  grammar: { source: 'template', topic: 'grammar', pairs: 32 },
  antonyms: { source: 'template', topic: 'antonyms', pairs: 32 },
  sequences: { source: 'template', topic: 'sequences', pairs: 32 },
} as const;

/** The sets that heads are found on by default. */
export const FOUND_ON = [
  'addition',
  'subtraction',
  'multiplication',
  'addition, statements',
  'addition, questions',
  'addition in words',
  'spans of years',
  'word problems',
] as const;

/** The sets that they are knocked out on by default. */
export const EVALUATED_ON = [
  'addition',
  'subtraction',
  'multiplication',
  'addition, statements',
  'addition, questions',
  'addition in words',
  'spans of years',
  'word problems',
  'facts',
  'grammar',
] as const;

/** Limits that no single field has. */
export const LIMITS = { pairs: 10000, prompt_tokens: 1024, operand: 9999, name: 120, notes: 10000 } as const;

/** Components of a knockout that names none. */
export const DEFAULT_TOP_K = 10;

/** Metric that ranks components wherever the first k of them are meant. */
export const DEFAULT_METRIC = 'relative_logit';
