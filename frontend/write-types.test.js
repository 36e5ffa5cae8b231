import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { typesText } from './write-types.js';

it('finds src/api/types.ts as `npm run types` writes it', async () => {
  expect(readFileSync('src/api/types.ts', 'utf-8')).toBe(await typesText());
});
