// Lineage of a tuned model: analysis, components, fine-tuning, model, and what follows.
import { models as loadModels } from '../../api/client';
import type { FineTuneResult } from '../../api/fineTune';
import { FIELDS } from '../../api/vocabulary';
import type { FineTuneSpec, ModelCard, Spec } from '../../api/wire';
import { prefillForm, analysisFormUrl } from '../../model/prefill';
import { DEFAULT_OPTIONS, optionsOf } from '../../model/patchingOptions';
import { fineTuneUrl } from '../../model/fineTuneUrl';
import { navigate } from '../../nav';
import { page } from '../../root';
import { plural } from '../../text/numbers';
import { isAnalysis, nameOf } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Link } from '../../ui/parts';
import { useParent } from '../knockout/parent';

interface LineageProps {
  spec: FineTuneSpec;
  result: FineTuneResult | null;
}

export function Lineage({ spec, result }: LineageProps) {
  const parent = useParent(spec.parent ?? null);
  const tuned = result?.tuned ?? null;
  const cards = useLoad(`models ${tuned}`, loadModels);
  const card = cards.data?.find((each) => each.id === tuned);
  const analysed = parent?.row && isAnalysis(parent.row.spec) ? parent.row.spec : null;
  const names = spec.components ?? [];
  const analyse = () => {
    if (tuned === null) return;
    const again = analysisOf(spec, analysed, tuned);
    prefillForm(again);
    navigate(page(analysisFormUrl(again)));
  };
  const tuneAgain = () => {
    if (tuned === null) return;
    prefillForm({ ...spec, model: tuned });
    navigate(page(fineTuneUrl(spec, tuned)));
  };
  return (
    <nav class="lineage" aria-label="Lineage">
      <ol>
        <BaseModels cards={cards.data ?? []} model={spec.model} />
        {parent && (
          <li>
            {parent.gone ? (
              <span class="faint">a deleted analysis</span>
            ) : (
              <Link to={page(`analyses/${parent.id}`)}>
                {parent.row ? <bdi>{nameOf(parent.row)}</bdi> : 'its analysis'}
              </Link>
            )}
          </li>
        )}
        {names.length > 0 && <li title={names.slice(0, 60).join(', ')}>{plural(names.length, 'component')}</li>}
        <li aria-current="page">this fine-tuning</li>
        <li>
          {tuned === null ? (
            <span class="faint">{result ? 'no model: nothing was trained' : 'a tuned model, once it is done'}</span>
          ) : (
            <bdi class="mono" data-testid="tuned">
              {card?.name ?? tuned}
            </bdi>
          )}
        </li>
      </ol>
      {tuned !== null && (
        <span class="row">
          <button type="button" onClick={analyse}>
            Analyse it
          </button>
          <button type="button" onClick={tuneAgain}>
            Fine-tune it again
          </button>
        </span>
      )}
      {tuned !== null && card && !card.supported && <p class="faint">It cannot be used now: {card.reason}</p>}
    </nav>
  );
}

/** The chain of models that this one was tuned from, oldest first. */
function BaseModels({ cards, model }: { cards: readonly ModelCard[]; model: string }) {
  const chain: ModelCard[] = [];
  for (let at = cards.find(({ id }) => id === model); at && chain.length < 20;) {
    chain.unshift(at);
    const base: string | null = at.base ?? null;
    at = base === null ? undefined : cards.find(({ id }) => id === base);
  }
  if (chain.length === 0)
    return (
      <li>
        <bdi>{model}</bdi>
      </li>
    );
  return (
    <>
      {chain.map((card) => (
        <li key={card.id}>
          {card.experiment ? (
            <Link to={page(`analyses/${card.experiment}`)} title="Its fine-tuning">
              <bdi>{card.name}</bdi>
            </Link>
          ) : (
            <bdi>{card.name}</bdi>
          )}
        </li>
      ))}
    </>
  );
}

/** The fine-tuning that produced an analysis' model; nothing for other models. */
export function TunedFrom({ cards, model }: { cards: readonly ModelCard[]; model: string }) {
  const card = cards.find(({ id }) => id === model);
  if (!card?.experiment) return null;
  const base = cards.find(({ id }) => id === card.base)?.name ?? card.base;
  return (
    <span>
      fine-tuned from <bdi>{base}</bdi> (<Link to={page(`analyses/${card.experiment}`)}>fine-tuning</Link>)
    </span>
  );
}

const SOME_PAIRS = 64;

/** The analysis of a tuned model: as its base was analysed, else on part of the training questions. */
function analysisOf({ prompts }: FineTuneSpec, parentSpec: Spec | null, model: string): Spec {
  if (parentSpec) return { ...parentSpec, ...optionsOf(parentSpec), model };
  const few =
    prompts.source === 'template'
      ? { ...prompts, pairs: Math.min(SOME_PAIRS, prompts.pairs), answer: 'first' as const, keep_wrong: true }
      : { ...prompts, pairs: prompts.pairs.slice(0, SOME_PAIRS), answer: 'first' as const };
  const metrics = [...FIELDS.path_patching.metrics.default];
  return { kind: 'path_patching', model, ...DEFAULT_OPTIONS, metrics, prompts: few };
}
