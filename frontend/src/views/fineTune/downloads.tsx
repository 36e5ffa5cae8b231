// Downloads: the trained weights alone, and every number about them.
import { exportAddress } from '../../api/client';
import type { FineTuneResult } from '../../api/fineTune';
import { noAdapter } from '../../model/fineTuneReport';
import { bytes } from '../../text/numbers';
import { Menu } from '../../ui/parts';

export function Downloads({ id, result }: { id: string; result: FineTuneResult }) {
  const without = noAdapter(result);
  return (
    <>
      {result.tuned !== null && (
        <a class="button quiet" href={exportAddress.deltas(id)} download>
          Download weights ({bytes(result.deltas_bytes)})
        </a>
      )}
      <Menu label="Export">
        {result.tuned !== null && without === null && (
          <a href={exportAddress.adapter(id)} download>
            Adapter for PEFT
          </a>
        )}
        {without !== null && <p class="faint menu-words">{without}</p>}
        <a href={exportAddress.history(id)} download>
          Every step as CSV
        </a>
        {result.evaluation && (
          <a href={exportAddress.judged(id)} download>
            Every test question as CSV
          </a>
        )}
        {result.evaluation?.repatched && (
          <a href={exportAddress.repatched(id)} download>
            Effects before and after as CSV
          </a>
        )}
        <a href={exportAddress.json(id)} download={`${id}.result.json`}>
          Result as JSON
        </a>
      </Menu>
    </>
  );
}
