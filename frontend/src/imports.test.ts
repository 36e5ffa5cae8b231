import { expect, it } from 'vitest';

const SOURCES = import.meta.glob<string>(['./**/*.{ts,tsx}', '!./**/*.test.ts'], {
  query: '?raw',
  import: 'default',
  eager: true,
});

/** The files of this folder that a file imports; imports of types count. */
function importsOf(file: string): string[] {
  const base = new URL(file, 'file:///');
  const targets = [...(SOURCES[file] ?? '').matchAll(/from '(\.[^']*)'/g)].map(([, path]) => new URL(path ?? '', base));
  return targets.flatMap(({ pathname }) =>
    ['.ts', '.tsx'].map((ending) => `.${pathname}${ending}`).filter((name) => name in SOURCES),
  );
}

/** The first import cycle reached from any file; null if there is none. */
function firstCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | null {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const next of graph.get(file) ?? []) {
      const found = visit(next, [...path, file]);
      if (found) return found;
    }
    done.add(file);
    return null;
  };
  for (const file of graph.keys()) {
    const found = visit(file, []);
    if (found) return found;
  }
  return null;
}

it('detects a circular import', () => {
  const graph = new Map([
    ['a', ['b']],
    ['b', ['c']],
    ['c', ['b']],
  ]);
  expect(firstCycle(graph)).toEqual(['b', 'c', 'b']);
});

it('has no circular imports', () => {
  const graph = new Map(Object.keys(SOURCES).map((file) => [file, importsOf(file)]));
  expect([...graph.values()].flat().length).toBeGreaterThan(200);
  expect(firstCycle(graph)).toBeNull();
});
