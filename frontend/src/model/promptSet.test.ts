import { describe, expect, it } from 'vitest';
import type { Topic } from '../api/wire';
import { draftOfSet, FIRST_SET, settledSet, templateOf, TOPIC_NAMES, TOPICS, type SetDraft } from './promptSet';

const set = (part: Partial<SetDraft>): SetDraft => ({ ...FIRST_SET, ...part });

describe('a set of prompts', () => {
  it('says nothing of the options that came later while they are as usual', () => {
    expect(templateOf(FIRST_SET, 2, false)).toEqual({
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

  it('says them where they are not', () => {
    const all = set({ operations: ['power'], wording: 'varied', decimals: 2, answerTokens: 'each' });
    expect(templateOf(all, 0, true)).toMatchObject({
      operations: ['power'],
      wording: 'varied',
      decimals: 2,
      answer: 'each',
      chat: true,
    });
  });

  it.each(TOPIC_NAMES)(
    'about %s asks nothing that the topic does not have, whatever was chosen before',
    (topic: Topic) => {
      const row = TOPICS[topic];
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
        const prompts = templateOf(draft, 2, false);
        if (typeof prompts === 'string') throw new Error(prompts);
        if (row.operations.length === 0) expect([prompts.operations, prompts.operands]).toEqual([['add'], [1, 9]]);
        else expect(prompts.operations.every((operation) => row.operations.includes(operation))).toBe(true);
        expect(prompts.styles).toEqual(row.styles ? ['question'] : ['equation']);
        if (!row.words) expect(prompts.numerals).toBeUndefined();
        expect(prompts.decimals !== undefined && (!row.decimals || prompts.numerals === 'words')).toBe(false);
        expect(row.impossible ?? []).not.toContain(prompts.corruption);
      }
    },
  );

  it('stays as it is when it is settled twice', () => {
    const once = settledSet(set({ topic: 'counting', operations: ['divide'], decimals: 2, numerals: 'words' }));
    expect(settledSet(once)).toEqual(once);
  });

  it('comes back from what was asked', () => {
    const asked = templateOf(
      set({ topic: 'word_problem', operations: ['divide'], numerals: 'words', pairs: '7' }),
      3,
      false,
    );
    if (typeof asked === 'string') throw new Error(asked);
    expect(templateOf(draftOfSet(asked), 3, false)).toEqual(asked);
  });

  it('names the half of the operands that it asks about', () => {
    const asked = templateOf(set({ half: 'second' }), 2, false);
    if (typeof asked === 'string') throw new Error(asked);
    expect(asked.half).toBe('second');
    expect(draftOfSet(asked).half).toBe('second');
    expect(templateOf(FIRST_SET, 2, false)).not.toHaveProperty('half');
  });

  it('needs no operands where there is no arithmetic', () => {
    expect(templateOf(set({ topic: 'facts', smallest: 'x', operations: [] }), 2, false)).toMatchObject({
      topic: 'facts',
    });
    expect(templateOf(set({ smallest: 'x' }), 2, false)).toMatch(/whole numbers/);
  });
});
