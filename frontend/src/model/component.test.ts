import { describe, expect, it } from 'vitest';
import { parseComponent, sameComponent, spokenName, componentName } from './component';

describe('a component', () => {
  it.each(['L0H0', 'L14H2', 'L79H63', 'MLP0', 'MLP19'])('has the same spelling after parsing: %s', (text) => {
    const component = parseComponent(text);
    expect(component && componentName(component)).toBe(text);
  });

  it.each(['', 'L1', 'H1', 'L01H1', 'L1H01', 'l1h1', 'MLP', 'MLP01', 'L1H1 ', 'L-1H1', 'L12345H1', 'L١H١', 'L1H1\n'])(
    'is not %j',
    (text) => expect(parseComponent(text)).toBeNull(),
  );

  it('has a spoken form for screen readers', () => {
    expect(spokenName({ layer: 14, head: 2 })).toBe('layer 14 head 2');
    expect(spokenName({ layer: 19, head: null })).toBe('MLP of layer 19');
  });

  it('is compared by value', () => {
    expect(sameComponent({ layer: 1, head: 2 }, { layer: 1, head: 2 })).toBe(true);
    expect(sameComponent({ layer: 1, head: null }, { layer: 1, head: 0 })).toBe(false);
    expect(sameComponent(null, null)).toBe(true);
    expect(sameComponent(null, { layer: 0, head: 0 })).toBe(false);
  });
});
