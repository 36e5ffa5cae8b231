import { describe, expect, it } from 'vitest';
import { places } from '../charts/effectMap';
import { componentName, type Component } from './component';
import { moveInGrid, componentAt } from './gridNavigation';

const EXTENT = { layers: 30, heads: 9 };
const from = (component: Component, key: string, ctrl = false) => {
  const to = moveInGrid(component, key, EXTENT, ctrl);
  return to && componentName(to);
};
const L14H2 = { layer: 14, head: 2 };

describe('keyboard navigation in the grid', () => {
  it.each([
    ['ArrowUp', 'L13H2'],
    ['ArrowDown', 'L15H2'],
    ['ArrowLeft', 'L14H1'],
    ['ArrowRight', 'L14H3'],
    ['Home', 'L14H0'],
    ['End', 'MLP14'],
    ['PageUp', 'L9H2'],
    ['PageDown', 'L19H2'],
  ])('%s moves from L14H2 to %s', (key, to) => expect(from(L14H2, key)).toBe(to));

  it('moves to the corners with Control', () => {
    expect(from(L14H2, 'Home', true)).toBe('L0H0');
    expect(from(L14H2, 'End', true)).toBe('MLP29');
  });

  it('stops at the edges', () => {
    expect(from({ layer: 0, head: 0 }, 'ArrowUp')).toBe('L0H0');
    expect(from({ layer: 0, head: 0 }, 'ArrowLeft')).toBe('L0H0');
    expect(from({ layer: 29, head: null }, 'ArrowRight')).toBe('MLP29');
    expect(from({ layer: 29, head: null }, 'PageDown')).toBe('MLP29');
  });

  it('moves between the last head and the MLP', () => {
    expect(from({ layer: 3, head: 8 }, 'ArrowRight')).toBe('MLP3');
    expect(from({ layer: 3, head: null }, 'ArrowLeft')).toBe('L3H8');
  });

  it('ignores other keys', () => expect(from(L14H2, 'x')).toBeNull());
});

describe('the component at a point', () => {
  const laid = places(9);
  const at = (x: number, y: number) => {
    const found = componentAt(x, y, EXTENT, laid);
    return found && componentName(found);
  };
  it('is the cell drawn at that point', () => {
    expect(at(0, 0)).toBe('L0H0');
    expect(at(2.5 / laid.total, 14.5 / 30)).toBe('L14H2');
    expect(at(0.999, 0.999)).toBe('MLP29');
  });
  it('is null in the gap before the MLPs and outside the grid', () => {
    expect(at((9 + laid.gap / 2) / laid.total, 0.5)).toBeNull();
    expect(at(1, 0.5)).toBeNull();
    expect(at(0.5, -0.01)).toBeNull();
  });
});
