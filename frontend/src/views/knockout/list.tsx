// Knock-outs and other experiments of an analysis, newest first, with the form for another knock-out.
import { kindOf } from '../../kinds';
import type { PanelProps } from '../../panels';
import { page } from '../../root';
import { Link } from '../../ui/parts';
import { Children } from '../experiment/children';
import { KnockoutForm } from './form';

/** Kinds without a list of their own are listed here, too. */
const listed = (kind: string): boolean => kind === 'knockout' || kindOf(kind)?.panel === undefined;

export function KnockoutList({ id, result, view: { metric, pins } }: PanelProps) {
  return (
    <>
      <Children id={id} has={listed} label="Knock-outs of this analysis" none="No knock-outs yet." ways />
      <KnockoutForm id={id} result={result} metric={metric} pins={pins} />
      <p class="faint">
        Do these heads matter on other kinds of prompts?{' '}
        <Link to={page(`transfer?model=${encodeURIComponent(result.model.id)}&parent=${encodeURIComponent(id)}`)}>
          Transfer
        </Link>
      </p>
    </>
  );
}
