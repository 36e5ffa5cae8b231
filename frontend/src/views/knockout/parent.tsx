// The link to the analysis that an experiment belongs to.
import { experiment } from '../../api/client';
import type { Experiment } from '../../api/wire';
import { page } from '../../root';
import { nameOf } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Link } from '../../ui/parts';

export interface Parent {
  id: string;
  row: Experiment | null;
  /** True only if the server says so (404); an unreachable server says nothing. */
  gone: boolean;
}

/** The analysis with this id; null without an id. */
export function useParent(id: string | null): Parent | null {
  const { data, error } = useLoad(`parent ${id}`, async (signal) => (id === null ? null : experiment(id, signal)));
  return id === null ? null : { id, row: data, gone: error?.status === 404 };
}

export function ParentLink({ parent: { id, row, gone } }: { parent: Parent }) {
  if (gone) return <span class="faint">its analysis was deleted</span>;
  return (
    <span>
      of <Link to={page(`analyses/${id}`)}>{row ? <bdi>{nameOf(row)}</bdi> : 'its analysis'}</Link>
    </span>
  );
}
