import { describe, expect, it } from 'vitest';
import type { Metric } from './api/wire';
import { defaultMetric, defaultView, readRoute, readView, writeView, type View } from './route';

const METRICS: Metric[] = ['logit', 'relative_logit', 'logit_difference'];
const PANELS = ['key', 'roles', 'stages', 'knockouts', 'tunings'];
const BOUNDS = { layers: 30, heads: 9, metrics: METRICS, prompts: [0, 2, 5], panels: PANELS };
const FORMS = ['', 'transfer', 'tune'];

describe('the path selects the page', () => {
  it.each(['/', '/some/prefix/'])('under the root %s', (root) => {
    expect(readRoute(root, root, FORMS)).toEqual({ page: 'form', path: '' });
    expect(readRoute(`${root}analyses/aB3_-x`, root, FORMS)).toEqual({ page: 'experiment', id: 'aB3_-x' });
    expect(readRoute(`${root}analyses/aB3/`, root, FORMS)).toEqual({ page: 'experiment', id: 'aB3' });
    expect(readRoute(`${root}system`, root, FORMS)).toEqual({ page: 'system' });
    expect(readRoute(`${root}system/`, root, FORMS)).toEqual({ page: 'system' });
    expect(readRoute(`${root}transfer`, root, FORMS)).toEqual({ page: 'form', path: 'transfer' });
    expect(readRoute(`${root}tune`, root, FORMS)).toEqual({ page: 'form', path: 'tune' });
    expect(readRoute(`${root}analyses/a%20b`, root, FORMS).page).toBe('not_found');
    expect(readRoute(`${root}elsewhere`, root, FORMS).page).toBe('not_found');
  });

  it('finds the home page without the trailing slash of a prefix', () => {
    expect(readRoute('/some/prefix', '/some/prefix/', FORMS)).toEqual({ page: 'form', path: '' });
    expect(readRoute('/some/prefixed', '/some/prefix/', FORMS).page).toBe('not_found');
  });
});

describe('the query holds the view', () => {
  it('is empty for the defaults', () => {
    const first = defaultView(METRICS);
    expect(first).toEqual({ view: 'map', sel: null, prompt: null, metric: 'relative_logit', pins: [], open: [] });
    expect(readView('', BOUNDS)).toEqual({ view: first, notices: [] });
    expect(writeView('', first, BOUNDS)).toBe('');
  });

  it('round-trips', () => {
    const view: View = {
      view: 'ranking',
      sel: { layer: 14, head: 2 },
      prompt: 5,
      metric: 'logit',
      pins: [
        { layer: 1, head: 0 },
        { layer: 19, head: null },
      ],
      open: ['key', 'knockouts'],
    };
    const search = writeView('', view, BOUNDS);
    expect(search).toBe('?view=ranking&sel=L14H2&prompt=5&metric=logit&pins=L1H0,MLP19&open=key,knockouts');
    expect(readView(search, BOUNDS)).toEqual({ view, notices: [] });
  });

  it.each([
    '?view=3d',
    '?sel=L30H0',
    '?sel=L0H9',
    '?sel=MLP30',
    '?sel=l1h1',
    '?prompt=1',
    '?prompt=-0',
    '?metric=probability',
    '?pins=L99H99',
    '?open=everything',
  ])('becomes the default, with a notice, for %s', (search) => {
    const { view, notices } = readView(search, BOUNDS);
    expect(view).toEqual(defaultView(METRICS));
    expect(notices).toHaveLength(1);
  });

  it('accepts any prompt until the result lists the prompts', () => {
    expect(readView('?prompt=7', { ...BOUNDS, prompts: null }).notices).toEqual([]);
  });

  it('keeps valid pins and findings, each once and in page order', () => {
    const { view, notices } = readView('?pins=L1H1,L99H0,L1H1,MLP3&open=roles,nothing,key', BOUNDS);
    expect(view.pins).toEqual([
      { layer: 1, head: 1 },
      { layer: 3, head: null },
    ]);
    expect(view.open).toEqual(['key', 'roles']);
    expect(notices).toHaveLength(2);
    expect(writeView('?pins=L1H1&open=key', { pins: [], open: [] }, BOUNDS)).toBe('');
  });

  it('truncates quoted values from the URL', () => {
    expect(readView(`?view=${'x'.repeat(500)}`, BOUNDS).notices[0]?.length).toBeLessThan(80);
  });

  it('changes one parameter and keeps the others, unknown ones included', () => {
    expect(writeView('?sel=L1H1&other=1', { metric: 'logit' }, BOUNDS)).toBe('?sel=L1H1&other=1&metric=logit');
    expect(writeView('?sel=L1H1&view=ranking', { sel: null }, BOUNDS)).toBe('?view=ranking');
  });

  it('defaults to the first metric if the usual one was not computed', () => {
    expect(defaultMetric(['logit', 'probability'])).toBe('logit');
    expect(
      writeView('?metric=probability', { metric: 'logit' }, { ...BOUNDS, metrics: ['logit', 'probability'] }),
    ).toBe('');
  });
});
