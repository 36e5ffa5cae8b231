import { describe, expect, it } from 'vitest';
import {
  DEFAULT_OPTIONS,
  DIRECTIONS,
  patchingSummary,
  EFFECTS,
  unavailableReason,
  optionsOf,
  POSITIONS,
  readChat,
  readOptions,
  normalised,
  shortSummary,
  SOURCES,
  nonDefaultSummary,
  writeChat,
  writeOptions,
  type Options,
} from './patchingOptions';

const with_ = (part: Partial<Options>): Options => ({ ...DEFAULT_OPTIONS, ...part });
const EVERY: Options[] = EFFECTS.flatMap(([effect]) =>
  POSITIONS.flatMap(([positions]) =>
    SOURCES.flatMap(([source]) => DIRECTIONS.map(([direction]) => ({ effect, positions, source, direction }))),
  ),
);
const fits = (options: Options, alone: boolean): boolean =>
  unavailableReason(options, 'source', options.source, alone) === null;

describe('what goes together', () => {
  it('is as the server has it', () => {
    // 3 effects at END and the total one everywhere; each from four sources, or put back from the counterfactual.
    expect(EVERY.filter((options) => fits(options, false))).toHaveLength(4 * (4 + 1));
    expect(EVERY.filter((options) => fits(options, true))).toHaveLength(4 * (2 + 1));
  });

  it('is reached from anything, with the effect as it was chosen, and what goes together stays', () => {
    for (const options of EVERY) {
      for (const alone of [true, false]) {
        const found = normalised(options, alone);
        expect([found, fits(found, alone), found.effect]).toEqual([found, true, options.effect]);
        if (fits(options, alone)) expect(found).toEqual(options);
      }
    }
  });

  it('says why a value cannot be chosen, and never hinders an effect', () => {
    expect(unavailableReason(with_({}), 'positions', 'all', false)).toMatch(/total effect/);
    expect(unavailableReason(with_({ effect: 'total' }), 'positions', 'all', false)).toBeNull();
    expect(unavailableReason(with_({ source: 'zero' }), 'direction', 'denoising', false)).toMatch(/counterfactual/);
    expect(unavailableReason(with_({ direction: 'denoising' }), 'source', 'zero', false)).toMatch(/denoising needs/);
    expect(unavailableReason(with_({}), 'source', 'mean', true)).toMatch(/set of prompts/);
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

  it('of an early version are the defaults', () => {
    expect(optionsOf({ effect: 'direct' })).toEqual(with_({ effect: 'direct' }));
  });
});

describe('options in the address', () => {
  it('come back from it, whatever they are, and defaults leave it', () => {
    for (const options of EVERY.filter((each) => fits(each, false))) {
      expect(readOptions(writeOptions('?other=1', options))).toEqual({ options, notices: [] });
    }
    expect(writeOptions('?effect=total&other=1', DEFAULT_OPTIONS)).toBe('?other=1');
    expect(writeOptions('?effect=total', DEFAULT_OPTIONS)).toBe('');
  });

  it('that name nothing become the default, with a notice', () => {
    const { options, notices } = readOptions('?effect=sideways&source=zero');
    expect(options).toEqual(with_({ source: 'zero' }));
    expect(notices).toEqual(['Unknown effect “sideways”: using “through later MLPs”.']);
  });

  it('that do not go together become the nearest that do, with a notice', () => {
    const { options, notices } = readOptions('?positions=all');
    expect(options).toEqual(DEFAULT_OPTIONS);
    expect(notices).toHaveLength(1);
  });
});

describe('the chat template in the address', () => {
  it('is there when on, leaves it when off, and comes back', () => {
    expect(writeChat('?effect=total', true)).toBe('?effect=total&chat=1');
    expect(writeChat('?effect=total&chat=1', false)).toBe('?effect=total');
    expect(readChat(writeChat('', true))).toEqual({ chat: true, notices: [] });
    expect(readChat('?chat=0')).toEqual({ chat: false, notices: [] });
    expect(readChat(writeChat('?chat=1', false))).toEqual({ chat: false, notices: [] });
  });

  it('is off when its value names nothing, with a notice', () => {
    expect(readChat('?chat=maybe')).toEqual({
      chat: false,
      notices: ['Unknown value “maybe” for chat: the chat template is off.'],
    });
  });
});
