// Keyboard navigation in the grid of effects: rows are layers; columns are heads and, last, the MLP.
import type { Component } from './component';

export interface Extent {
  layers: number;
  heads: number;
}

/** The component that a key leads to; null if the key has no meaning here. Movement stops at the edges. */
export function moveInGrid(from: Component, key: string, { layers, heads }: Extent, ctrl = false): Component | null {
  const column = from.head ?? heads;
  const go = (layer: number, to: number): Component => {
    const row = Math.max(0, Math.min(layers - 1, layer));
    const place = Math.max(0, Math.min(heads, to));
    return { layer: row, head: place === heads ? null : place };
  };
  switch (key) {
    case 'ArrowUp':
      return go(from.layer - 1, column);
    case 'ArrowDown':
      return go(from.layer + 1, column);
    case 'ArrowLeft':
      return go(from.layer, column - 1);
    case 'ArrowRight':
      return go(from.layer, column + 1);
    case 'Home':
      return ctrl ? go(0, 0) : go(from.layer, 0);
    case 'End':
      return ctrl ? go(layers - 1, heads) : go(from.layer, heads);
    case 'PageUp':
      return go(from.layer - 5, column);
    case 'PageDown':
      return go(from.layer + 5, column);
    default:
      return null;
  }
}

/** The component at a point of the map, given as fractions of its width and height; null in the gap before the MLPs. */
export function componentAt(
  x: number,
  y: number,
  { layers, heads }: Extent,
  places: { gap: number; total: number },
): Component | null {
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return null;
  const layer = Math.floor(y * layers);
  const place = x * places.total;
  if (place < heads) return { layer, head: Math.floor(place) };
  return place >= heads + places.gap ? { layer, head: null } : null;
}
