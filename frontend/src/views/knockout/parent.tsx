// The way back to the analysis that an experiment belongs to.
import { experiment } from '../../api/client';
import { page } from '../../root';
import { nameOf } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Link } from '../../ui/parts';

export function ParentLink({ id }: { id: string }) {
  const { data, trouble } = useLoad(`parent ${id}`, (signal) => experiment(id, signal));
  // Only a refusal says that it is gone; a server out of reach says nothing.
  if (trouble && trouble.status === 404) return <span class="faint">its analysis was deleted</span>;
  return (
    <span>
      of <Link to={page(`analyses/${id}`)}>{data ? <bdi>{nameOf(data)}</bdi> : 'its analysis'}</Link>
    </span>
  );
}
