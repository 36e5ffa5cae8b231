// What can be taken away: the tuned part alone, and every number about it.
import { useState } from 'preact/hooks';
import { adapter, exportAddress } from '../../api/client';
import type { FineTuneResult } from '../../api/tuned';
import type { Problem } from '../../api/wire';
import { bytes } from '../../text/numbers';
import { Menu, TroubleBlock, troubleOf } from '../../ui/parts';
import { save } from '../../ui/plot';

export function Downloads({ id, result }: { id: string; result: FineTuneResult }) {
  const [trouble, setTrouble] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const judged = result.evaluation !== null;
  // Not every change can be an adapter: the server knows, and says why.
  const asAdapter = async () => {
    setBusy(true);
    try {
      save(await adapter(id), `${id}.adapter.zip`);
      setTrouble(null);
    } catch (reason) {
      setTrouble(troubleOf(reason));
    }
    setBusy(false);
  };
  return (
    <>
      {result.tuned !== null && (
        <a class="button quiet" href={exportAddress.deltas(id)} download>
          Download weights ({bytes(result.deltas_bytes)})
        </a>
      )}
      <Menu label="Export">
        {result.tuned !== null && (
          <button type="button" disabled={busy} onClick={() => void asAdapter()}>
            Adapter for PEFT (zip)
          </button>
        )}
        <a href={exportAddress.history(id)} download>
          Every step as CSV
        </a>
        {judged && (
          <a href={exportAddress.judged(id)} download>
            Every judged question as CSV
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
      {trouble && <TroubleBlock problem={trouble} />}
    </>
  );
}
