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
