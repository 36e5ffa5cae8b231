import { describe, expect, it } from 'vitest';
import { parseComponent, same, speak, spell } from './component';

describe('a component', () => {
  it.each(['L0H0', 'L14H2', 'L79H63', 'MLP0', 'MLP19'])('is spelled as it is read: %s', (text) => {
    const component = parseComponent(text);
    expect(component && spell(component)).toBe(text);
  });

  it.each(['', 'L1', 'H1', 'L01H1', 'L1H01', 'l1h1', 'MLP', 'MLP01', 'L1H1 ', 'L-1H1', 'L12345H1', 'L١H١', 'L1H1\n'])(
    'is not %j',
    (text) => expect(parseComponent(text)).toBeNull(),
  );

  it('is spoken in words', () => {
    expect(speak({ layer: 14, head: 2 })).toBe('layer 14 head 2');
    expect(speak({ layer: 19, head: null })).toBe('MLP of layer 19');
  });

  it('is the same by value', () => {
    expect(same({ layer: 1, head: 2 }, { layer: 1, head: 2 })).toBe(true);
    expect(same({ layer: 1, head: null }, { layer: 1, head: 0 })).toBe(false);
    expect(same(null, null)).toBe(true);
    expect(same(null, { layer: 0, head: 0 })).toBe(false);
  });
});
