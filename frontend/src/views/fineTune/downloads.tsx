// Downloads: the trained weights alone, and every number about them.
import { fileAddress } from '../../api/client';
import type { FineTuneResult } from '../../api/fineTune';
import { noAdapter } from '../../model/fineTuneReport';
import { bytes } from '../../text/numbers';
import { Menu } from '../../ui/parts';

export function Downloads({ id, result }: { id: string; result: FineTuneResult }) {
  const without = noAdapter(result);
  return (
    <>
      {result.tuned !== null && (
        <a class="button quiet" href={fileAddress(id, 'deltas.safetensors')} download>
          Download weights ({bytes(result.deltas_bytes)})
        </a>
      )}
      <Menu label="Export">
        {result.tuned !== null && without === null && (
          <a href={fileAddress(id, 'adapter.zip')} download>
            Adapter for PEFT
          </a>
        )}
        {without !== null && <p class="faint menu-words">{without}</p>}
        <a href={fileAddress(id, 'history.csv')} download>
          Every step as CSV
        </a>
        {result.evaluation && (
          <a href={fileAddress(id, 'judged.csv')} download>
            Every test question as CSV
          </a>
        )}
        {result.evaluation?.repatched && (
          <a href={fileAddress(id, 'repatched.csv')} download>
            Effects before and after as CSV
          </a>
        )}
        <a href={fileAddress(id, 'result')} download={`${id}.result.json`}>
          Result as JSON
        </a>
      </Menu>
    </>
  );
}
