import { describe, expect, it } from 'vitest';
import { CHOICES } from '../api/vocabulary';
import { valuesOf } from './fields';
import {
  DEFAULT_OPTIONS,
  patchingSummary,
  unavailableReason,
  optionsOf,
  readChat,
  readOptions,
  normalised,
  shortSummary,
  nonDefaultSummary,
  writeChat,
  writeOptions,
  type Options,
} from './patchingOptions';

const with_ = (part: Partial<Options>): Options => ({ ...DEFAULT_OPTIONS, ...part });
const EVERY: Options[] = valuesOf(CHOICES.Effect).flatMap((effect) =>
  valuesOf(CHOICES.Positions).flatMap((positions) =>
    valuesOf(CHOICES.Source).flatMap((source) =>
      valuesOf(CHOICES.Direction).map((direction) => ({ effect, positions, source, direction })),
    ),
  ),
);
const fits = (options: Options, alone: boolean): boolean =>
  (Object.keys(options) as (keyof Options)[]).every(
    (name) => unavailableReason(options, name, options[name], alone) === null,
  );

describe('compatible options', () => {
  it('match those of the server', () => {
    // Three effects at END, and the total effect also at all positions; each with four sources, or denoising from the
    // counterfactual.
    expect(EVERY.filter((options) => fits(options, false))).toHaveLength(4 * (4 + 1));
    expect(EVERY.filter((options) => fits(options, true))).toHaveLength(4 * (2 + 1));
  });

  it('result from normalising any combination: the effect is kept, and compatible options stay unchanged', () => {
    for (const options of EVERY) {
      for (const alone of [true, false]) {
        const found = normalised(options, alone);
        expect([found, fits(found, alone), found.effect]).toEqual([found, true, options.effect]);
        if (fits(options, alone)) expect(found).toEqual(options);
      }
    }
  });

  it('explain why a value is unavailable; the option that gives way is the one that is unavailable', () => {
    expect(unavailableReason(with_({}), 'positions', 'all', false)).toMatch(/total effect/);
    expect(unavailableReason(with_({ effect: 'total' }), 'positions', 'all', false)).toBeNull();
    expect(unavailableReason(with_({ source: 'zero' }), 'direction', 'denoising', false)).toMatch(/counterfactual/);
    expect(unavailableReason(with_({ direction: 'denoising' }), 'source', 'zero', false)).toBeNull();
    expect(unavailableReason(with_({}), 'source', 'mean', true)).toMatch(/several prompts/);
    expect(unavailableReason(with_({ effect: 'total', positions: 'all' }), 'effect', 'direct', false)).toBeNull();
  });
});

describe('options in words', () => {
  it.each([
    [{}, 'effect through later MLPs, patched at the last position with the counterfactual', ''],
    [
      { effect: 'total', positions: 'all', source: 'zero' },
      'total effect, patched at all positions with zero',
      'all positions, with zero',
    ],
    [
      { effect: 'direct', direction: 'denoising' },
      'direct effect, restored at the last position in the counterfactual run',
      'denoising',
    ],
  ] as [Partial<Options>, string, string][])('%j', (part, done, unusual) => {
    expect(patchingSummary(with_(part))).toBe(done);
    expect(nonDefaultSummary(with_(part))).toBe(unusual);
  });

  it('are short in a table', () => {
    expect(shortSummary(with_({}))).toBe('through later MLPs');
    expect(shortSummary(with_({ effect: 'total', positions: 'all' }))).toBe('total, all positions');
  });

  it('missing in specs of earlier versions have their defaults', () => {
    expect(optionsOf({ effect: 'direct' })).toEqual(with_({ effect: 'direct' }));
  });
});

describe('options in the URL', () => {
  it('round-trip in every combination; defaults are left out', () => {
    for (const options of EVERY.filter((each) => fits(each, false))) {
      expect(readOptions(writeOptions('?other=1', options))).toEqual({ options, notices: [] });
    }
    expect(writeOptions('?effect=total&other=1', DEFAULT_OPTIONS)).toBe('?other=1');
    expect(writeOptions('?effect=total', DEFAULT_OPTIONS)).toBe('');
  });

  it('are replaced with the default if unknown, with a notice', () => {
    const { options, notices } = readOptions('?effect=sideways&source=zero');
    expect(options).toEqual(with_({ source: 'zero' }));
    expect(notices).toEqual(['Unknown effect “sideways”: using “through later MLPs”.']);
  });

  it('are replaced with the nearest compatible ones, with a notice', () => {
    const { options, notices } = readOptions('?positions=all');
    expect(options).toEqual(DEFAULT_OPTIONS);
    expect(notices).toHaveLength(1);
  });
});

describe('the chat template in the URL', () => {
  it('is present only if on, and round-trips', () => {
    expect(writeChat('?effect=total', true)).toBe('?effect=total&chat=1');
    expect(writeChat('?effect=total&chat=1', false)).toBe('?effect=total');
    expect(readChat(writeChat('', true))).toEqual({ chat: true, notices: [] });
    expect(readChat('?chat=0')).toEqual({ chat: false, notices: [] });
    expect(readChat(writeChat('?chat=1', false))).toEqual({ chat: false, notices: [] });
  });

  it('is off for an unknown value, with a notice', () => {
    expect(readChat('?chat=maybe')).toEqual({
      chat: false,
      notices: ['Unknown value “maybe” for chat: the chat template is off.'],
    });
  });
});
