import { expect, it } from 'vitest';
import openapi from '../../openapi.json';
import { KIND_FILES, PANEL_FILES } from './registry';

it('has a row for every kind of experiment that the API has', () => {
  const { discriminator } = openapi.components.schemas.Experiment.properties.spec;
  const rows = Object.values(KIND_FILES).map(({ kind }) => kind);
  expect(rows.toSorted()).toEqual(Object.keys(discriminator.mapping).toSorted());
});

it('shows only views that the API has', () => {
  const addresses = Object.keys(openapi.paths);
  for (const { name } of Object.values(PANEL_FILES))
    expect(addresses).toContain(`/api/experiments/{experiment_id}/${name}`);
});

it.each(['name', 'order'] as const)('has no two panels of the same %s', (field) => {
  const panels = [...Object.values(PANEL_FILES), ...Object.values(KIND_FILES).flatMap(({ panel }) => panel ?? [])];
  const values = panels.map((panel) => panel[field]);
  expect(values.length).toBeGreaterThan(6);
  expect(new Set(values).size).toBe(values.length);
});

it('is the only place where the shared code meets a kind or a panel: none is named there', () => {
  const shared = import.meta.glob<string>(
    ['./*.{ts,tsx}', './api/*.ts', './ui/*.tsx', './views/experiment/*', './text/experiment.ts', '!./untouched.ts'],
    { query: '?raw', import: 'default', eager: true },
  );
  const generated = ['./api/types.ts', './api/vocabulary.ts'];
  const names = [
    ...Object.values(KIND_FILES).flatMap(({ kind, panel }) => [kind, ...(panel ? [panel.name] : [])]),
    ...Object.values(PANEL_FILES).map(({ name }) => name),
  ];
  const found = Object.entries(shared)
    .filter(([file]) => !file.endsWith('.test.ts') && !generated.includes(file))
    .flatMap(([file, text]) => names.filter((name) => text.includes(`'${name}'`)).map((name) => `${file}: ${name}`));
  expect(found).toEqual([]);
});
