// The bundled example: a finished, real analysis that needs neither a worker nor a model.
import { experiment, result } from '../../api/client';
import { componentName } from '../../model/component';
import { fromResult } from '../../model/effects';
import { navigate } from '../../nav';
import { page } from '../../root';
import { defaultMetric } from '../../route';
import type { Metric, Result } from '../../api/wire';
import { plural } from '../../text/numbers';
import { specTitle } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Link } from '../../ui/parts';
import { EffectsMap } from '../workspace/effectsMap';
import { useMemo } from 'preact/hooks';

export function Example() {
  const { data, error, busy } = useLoad('example', async (signal) => {
    const [row, numbers] = await Promise.all([experiment('example', signal), result('example', signal)]);
    return { row, numbers: numbers as Result };
  });
  const table = useMemo(
    () => data && fromResult(data.numbers, defaultMetric(Object.keys(data.numbers.metrics) as Metric[])),
    [data],
  );
  return (
    <section class="example" aria-label="A finished example">
      {data && table ? (
        <>
          <h2>
            A finished example:{' '}
            <Link to={page('analyses/example')}>{specTitle(data.row.spec, data.numbers.pairs.length)}</Link>
          </h2>
          <p class="faint">
            {data.numbers.model.name}, {plural(data.numbers.model.layers, 'layer')} of{' '}
            {plural(data.numbers.model.heads, 'head')}. Each cell is one head or MLP; choose one to see what it attends
            to.
          </p>
          <EffectsMap
            table={table}
            selected={null}
            onSelect={(component) =>
              navigate(page(`analyses/example${component ? `?sel=${componentName(component)}` : ''}`))
            }
          />
        </>
      ) : (
        <p class="faint hint">
          {busy
            ? 'Loading the example…'
            : error && error.status !== 404
              ? `The example cannot be shown: ${error.detail}`
              : 'This installation has no example. Run the prompt as it is to see a map of the model’s heads and MLPs.'}
        </p>
      )}
    </section>
  );
}
