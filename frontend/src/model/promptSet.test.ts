import { describe, expect, it } from 'vitest';
import type { Topic } from '../api/wire';
import {
  setDraftOf,
  DEFAULT_SET,
  normalisedSet,
  templatePromptsOf,
  hasStyles,
  hasValue,
  isControl,
  operationsOf,
  TOPICS,
  type SetDraft,
} from './promptSet';

const set = (part: Partial<SetDraft>): SetDraft => ({ ...DEFAULT_SET, ...part });

describe('a prompt set', () => {
  it('leaves out options of later versions at their defaults', () => {
    expect(templatePromptsOf(DEFAULT_SET, 2, false)).toEqual({
      source: 'template',
      operations: ['add'],
      styles: ['equation'],
      operands: [1, 9],
      pairs: 64,
      shots: 2,
      corruption: 'null_operator',
      seed: 0,
      keep_wrong: false,
    });
  });

  it('includes them if they differ from the defaults', () => {
    const all = set({ operations: ['power'], wording: 'varied', decimals: 2, answerTokens: 'each' });
    expect(templatePromptsOf(all, 0, true)).toMatchObject({
      operations: ['power'],
      wording: 'varied',
      decimals: 2,
      answer: 'each',
      chat: true,
    });
  });

  it.each(TOPICS)('of topic %s drops earlier choices that the topic does not offer', (topic: Topic) => {
    const before = set({
      topic,
      operations: ['power'],
      styles: ['question'],
      numerals: 'words',
      decimals: 1,
      corruption: 'operator_swap',
      smallest: '10',
      largest: '99',
    });
    for (const draft of [
      before,
      { ...before, numerals: 'digits' as const, corruption: 'operand_swap_same_answer' as const },
    ]) {
      const prompts = templatePromptsOf(draft, 2, false);
      if (typeof prompts === 'string') throw new Error(prompts);
      if (isControl(topic)) expect([prompts.operations, prompts.operands]).toEqual([['add'], [1, 9]]);
      else expect(prompts.operations.every((operation) => operationsOf(topic).includes(operation))).toBe(true);
      expect(prompts.styles).toEqual(hasStyles(topic) ? ['question'] : ['equation']);
      if (!hasValue(topic, 'numerals', 'words')) expect(prompts.numerals).toBeUndefined();
      expect(prompts.decimals !== undefined && (!hasValue(topic, 'decimals', 1) || prompts.numerals === 'words')).toBe(
        false,
      );
      expect(hasValue(topic, 'corruption', prompts.corruption)).toBe(true);
    }
  });

  it('is normalised idempotently', () => {
    const once = normalisedSet(set({ topic: 'counting', operations: ['divide'], decimals: 2, numerals: 'words' }));
    expect(normalisedSet(once)).toEqual(once);
  });

  it('round-trips through a draft', () => {
    const asked = templatePromptsOf(
      set({ topic: 'word_problem', operations: ['divide'], numerals: 'words', pairs: '7' }),
      3,
      false,
    );
    if (typeof asked === 'string') throw new Error(asked);
    expect(templatePromptsOf(setDraftOf(asked), 3, false)).toEqual(asked);
  });

  it('includes the half of the operands if one is chosen', () => {
    const asked = templatePromptsOf(set({ half: 'second' }), 2, false);
    if (typeof asked === 'string') throw new Error(asked);
    expect(asked.half).toBe('second');
    expect(setDraftOf(asked).half).toBe('second');
    expect(templatePromptsOf(DEFAULT_SET, 2, false)).not.toHaveProperty('half');
  });

  it('needs no operands for topics without arithmetic', () => {
    expect(templatePromptsOf(set({ topic: 'facts', smallest: 'x', operations: [] }), 2, false)).toMatchObject({
      topic: 'facts',
    });
    expect(templatePromptsOf(set({ smallest: 'x' }), 2, false)).toMatch(/whole numbers/);
  });
});
