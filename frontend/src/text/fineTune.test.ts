import { describe, expect, it } from 'vitest';
import type { AnySpec, FineTuneSpec, Tuner } from '../api/wire';
import { command, curl, python, shellQuoted } from './snippets';
import '../registry';
import { totalOf, cancelledLine, progressLine, share as barOf, unitOf } from './experiment';
import { specTitle, kindName, methodSummary } from './titles';
import { count, includesZero, mayHaveKeptSteps, pointRange, points, share, shareRange, TUNERS } from './fineTune';

const SPEC = {
  kind: 'fine_tune',
  model: "it's",
  tuner: 'precise',
  components: ['L1H1', 'MLP2'],
  clip: null,
  biases: true,
  steps: 80,
  prompts: { source: 'custom', pairs: [{ reference: "'; rm -rf / #" }], shots: 0, corruption: 'operand_swap' },
} as FineTuneSpec;

describe('numbers of a fine-tuning', () => {
  it('are formatted for reading', () => {
    expect([9_430_000, 134_515_008, 960, 1_240_000_000].map(count)).toEqual(['9.4 M', '134.5 M', '960', '1.2 B']);
    expect([0.64, -0.035, 0, -0.0001].map(points)).toEqual(['+64.0', '−3.5', '0.0', '0.0']);
    expect(share(0.815)).toBe('81.5 %');
  });
  it('include their interval, or “no interval”', () => {
    expect(shareRange({ mean: 0.8, low: 0.75, high: 0.862 })).toBe('75.0 to 86.2 %');
    expect(pointRange({ mean: 0, low: -0.1, high: 0.1 })).toBe('−10.0 to +10.0');
    expect(pointRange({ mean: 0, low: null, high: null })).toBe('no interval');
    expect([includesZero({ mean: 0, low: -0.1, high: 0.1 }), includesZero({ mean: 1, low: 0.1, high: 2 })]).toEqual([
      true,
      false,
    ]);
  });
});

describe('a fine-tuning in words', () => {
  it('is named after the parameters trained', () => {
    const named = (tuner: Tuner) => specTitle({ ...SPEC, tuner } as AnySpec);
    expect(TUNERS.map(named)).toEqual([
      'Fine-tuning of L1H1, MLP2',
      'Fine-tuning of 2 random components',
      'Fine-tuning of output offsets at L1H1, MLP2',
      'Fine-tuning with LoRA',
      'Fine-tuning of all matrices',
      'Fine-tuning of the whole model',
    ]);
    expect([kindName('fine_tune'), methodSummary({ ...SPEC, tuner: 'lora' } as AnySpec)]).toEqual([
      'fine-tuning',
      'fine-tuning, LoRA',
    ]);
  });
  it('counts steps even while its evaluation counts prompts', () => {
    const after = { stage: 'after', done: 100, total: 200 } as const;
    expect(unitOf(SPEC)).toBe('step');
    expect(totalOf({ spec: SPEC, progress: after })).toBe(80);
    expect(progressLine('running', { stage: 'steps', done: 3, total: 80 })).toBe('training: steps 3/80');
    expect(progressLine('running', after)).toBe('evaluating before and after: questions 100/200');
    expect(barOf(after)).toBe(0.5);
  });
  it('may have kept weights after its first step, or after a non-finite loss', () => {
    const row = (state: string, stage: string, done: number, type = '') =>
      ({ state, progress: { stage, done }, error: { type } }) as unknown as Parameters<typeof mayHaveKeptSteps>[0];
    const kept = [row('cancelled', 'steps', 1), row('cancelled', 'saving', 0), row('cancelled', 'after', 0)];
    expect(
      [...kept, row('failed', 'steps', 0, 'urn:arithmoscope:problem:training_broke')].map(mayHaveKeptSteps),
    ).toEqual([true, true, true, true]);
    const none = [row('cancelled', 'steps', 0), row('cancelled', 'before', 40), row('cancelled', 'queued', 0)];
    expect([...none, row('failed', 'steps', 9, 'urn:x:out_of_memory')].map(mayHaveKeptSteps)).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });
  it('states what a cancelled run kept', () => {
    expect(cancelledLine(SPEC, 34, 80)).toBe(
      'Cancelled after 34 of 80 steps: the weights of step 34 are kept. They were not evaluated.',
    );
    expect(cancelledLine(SPEC, 0, 80)).toMatch(/no result/);
  });
});

describe('snippets that reproduce a run', () => {
  it('quote the JSON of a curl command safely for the shell', () => {
    expect(shellQuoted("a'b")).toBe("'a'\\''b'");
    const command = curl(SPEC, 'http://here/api/experiments');
    // The single-quoted text, as a shell reads it, is the spec.
    const body = command.slice(command.indexOf('-d ') + 3).trim();
    expect(JSON.parse(body.slice(1, -1).replace(/'\\''/g, "'"))).toEqual(SPEC);
  });
  it('use the CLI if its flags can express the spec', () => {
    expect(command(SPEC)).toBeNull();
    const prompts = {
      source: 'template',
      operations: ['add', 'subtract'],
      styles: ['equation'],
      operands: [10, 99],
      pairs: 9,
      shots: 2,
      corruption: 'null_operator',
      seed: 0,
    } as const;
    const asked = { ...SPEC, prompts: { ...prompts } } as unknown as FineTuneSpec;
    expect(command(asked)?.replace(/ \\\n {2}/g, ' ')).toBe(
      "arithmoscope fine-tune --model 'it'\\''s' --components L1H1,MLP2 --tuner precise --operations add subtract " +
        '--styles equation --operands 10 99 --pairs 9 --shots 2 --steps 80 --clip 0 --biases\n',
    );
    for (const part of [{ seed: 1 }, { half: 'first' }, { corruption: 'operand_swap' }])
      expect(command({ ...asked, prompts: { ...prompts, ...part } } as unknown as FineTuneSpec)).toBeNull();
  });
  it('use True and None in Python', () => {
    const code = python({ experiment_id: 'x', spec: SPEC, model: { revision: 'abc' } as never });
    expect(code).toContain('load_model("it\'s")');
    expect(code).toContain('    ["L1H1","MLP2"],');
    expect(code).toContain('    clip=None,\n');
    expect(code).toContain('    biases=True,\n');
    expect(code).not.toContain('undefined');
  });
});
