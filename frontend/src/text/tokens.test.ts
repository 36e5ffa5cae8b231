import { describe, expect, it } from 'vitest';
import type { Role, Token } from '../api/wire';
import { align, clip, escapeForPlotly, lastLine, lines, rolesIn, visible } from './tokens';

const token = (text: string, id = text.codePointAt(0) ?? 0, role: Role = 'other'): Token => ({ text, id, role });
const word = (text: string) => [...text].map((letter) => token(letter));
const shown = (columns: ReturnType<typeof align>) =>
  columns.map(({ reference, counterfactual }) => `${reference?.text ?? '_'}${counterfactual?.text ?? '_'}`).join(' ');

describe('text for Plotly', () => {
  it.each(['<img src=x onerror=alert(1)>', '</script>', '<b>', '<a href="x">', '&lt;b&gt;', '<br>', '<extra>'])(
    'contains neither markup nor entities from the token: %s',
    (text) => {
      const safe = escapeForPlotly(text);
      expect(safe).not.toMatch(/[<>]/);
      expect(safe.replace(/&(amp|lt|gt|#36);/g, '')).not.toContain('&');
    },
  );
  it('does not start a LaTeX formula', () => expect(escapeForPlotly('$x$')).not.toContain('$'));
  it('leaves plain text unchanged', () => expect(escapeForPlotly('3 + 5 =')).toBe('3 + 5 ='));
});

describe('a visible token', () => {
  it.each([
    [' 5', '␣5'],
    [' ', '␣'],
    ['\n', '⏎'],
    ['\r\n', '⏎'],
    ['a\tb', 'a⇥b'],
    ['a b', 'a b'],
    ['', '∅'],
    ['🙂', '🙂'],
    ['<b>', '<b>'],
    ['\u202eabc', '‹202e›abc'],
    ['a\u200bb', 'a‹200b›b'],
    ['\u0000', '‹00›'],
  ])('%j is shown as %j', (text, seen) => expect(visible(text)).toBe(seen));

  it('is truncated between characters, never inside one', () => {
    expect(clip('🙂🙂🙂', 2)).toBe('🙂…');
    expect(clip('abc', 3)).toBe('abc');
  });
});

describe('two prompts side by side', () => {
  it('are aligned at their common prefix and suffix', () => {
    expect(shown(align(word('3+5='), word('3@5=')))).toBe('33 +@ 55 ==');
  });
  it('stay aligned at the end if one is longer', () => {
    expect(shown(align(word('a+b='), word('anoneb=')))).toBe('aa +n _o _n _e bb ==');
    expect(shown(align(word('abc'), []))).toBe('a_ b_ c_');
    expect(align([], [])).toEqual([]);
  });
  it('do not count a token twice where prefix and suffix meet', () => {
    expect(shown(align(word('aa'), word('aaa')))).toBe('aa aa _a');
  });
  it('are shown apart if too little of them matches for columns', () => {
    expect(lines(align(word('abcdefgh'), word('ijklmnop')))[0]?.apart).toBe(true);
    expect(lines(align(word('3+5='), word('3@5=')))[0]?.apart).toBe(false);
  });
  it('break into lines, each marked as changed or unchanged', () => {
    const found = lines(align(word('1=2\n3+5='), word('1=2\n3@5=')));
    expect(found.map(({ columns, changed }) => [columns.length, changed])).toEqual([
      [4, false],
      [4, true],
    ]);
  });
});

it('takes the last non-empty line of a prompt as its question', () => {
  expect(lastLine('2 + 3 = 5\n3 + 5 =')).toBe('3 + 5 =');
  expect(lastLine('3 + 5 =\n\n')).toBe('3 + 5 =');
  expect(lastLine('')).toBe('');
});

it('lists the roles that occur in the order of the legend', () => {
  expect(rolesIn([token('x', 1, 'equals')], [token('y', 2, 'operand_a')])).toEqual(['operand_a', 'equals']);
});
