// All heads of a layer as thumbnails on one canvas; the first token is hidden, as in the large map.
import { colourAt, attentionScale, type Theme } from './colours';
import { range } from './attentionMap';

export interface Sheet {
  columns: number;
  rows: number;
  /** Pixels of one thumbnail, and between two. */
  tile: number;
  gap: number;
  width: number;
  height: number;
}

/** Layout of `heads` thumbnails in a width: as few rows as tiles of at least 28 pixels allow. */
export function sheet(heads: number, available: number): Sheet {
  const gap = 4;
  const most = Math.max(1, Math.floor((available + gap) / (28 + gap)));
  const columns = Math.min(heads, most, 16);
  const tile = Math.max(20, Math.min(64, Math.floor((available + gap) / columns) - gap));
  const rows = Math.ceil(heads / columns);
  return { columns, rows, tile, gap, width: columns * (tile + gap) - gap, height: rows * (tile + gap) - gap };
}

export const corner = (head: number, { columns, tile, gap }: Sheet): { x: number; y: number } => ({
  x: (head % columns) * (tile + gap),
  y: Math.floor(head / columns) * (tile + gap),
});

/** The pixels of the whole sheet, RGBA row by row, for a canvas of width x height. */
export function paint(
  weights: readonly (readonly (readonly number[])[])[],
  layout: Sheet,
  theme: Theme,
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(layout.width * layout.height * 4);
  const stops = attentionScale(theme);
  // Colours are looked up, not computed, for each of up to a million weights.
  const table = Array.from({ length: 256 }, (_, i) => colourAt(stops, i / 255));
  weights.forEach((head, index) => {
    const { x: left, y: top } = corner(index, layout);
    const { start, count } = range(head.length);
    for (let y = 0; y < layout.tile; y += 1) {
      const row = head[start + Math.floor((y * count) / layout.tile)];
      for (let x = 0; x < layout.tile; x += 1) {
        const weight = row?.[start + Math.floor((x * count) / layout.tile)] ?? 0;
        const colour = table[Math.max(0, Math.min(255, Math.round(weight * 255)))];
        const place = ((top + y) * layout.width + left + x) * 4;
        pixels[place] = colour?.[0] ?? 0;
        pixels[place + 1] = colour?.[1] ?? 0;
        pixels[place + 2] = colour?.[2] ?? 0;
        pixels[place + 3] = 255;
      }
    }
  });
  return pixels;
}
