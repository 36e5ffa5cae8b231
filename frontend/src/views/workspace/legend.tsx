// The legend of the map: what its colours mean.
import { DIVERGING, gradient, stops } from '../../charts/colours';
import { colourLimit, uncertain, type EffectTable } from '../../model/effects';
import { effect, METRIC_DESCRIPTIONS, plural, SIGN_MEANINGS } from '../../text/numbers';
import { useTheme } from '../../ui/theme';

export function EffectLegend({ table }: { table: EffectTable }) {
  const theme = useTheme();
  const { limit, beyond } = colourLimit(table);
  const { below, above } = SIGN_MEANINGS[table.direction];
  const hasValues = table.ranking.length > 0;
  const faint = table.cells.some(uncertain);
  const waiting = table.ranking.length < table.cells.length;
  return (
    <div class="map-legend">
      <div class="scale" role="img" aria-label={`Colours: orange ${below}, below 0; blue ${above}, above 0`}>
        <span class="end">{below} ▼</span>
        <span class="bar" style={{ background: gradient(stops(DIVERGING[theme])) }} />
        <span class="end">▲ {above}</span>
        {hasValues && (
          <>
            <span class="tick low">
              {beyond > 0 && '≤ '}
              {effect(-limit, table.metric)}
            </span>
            <span class="tick zero">0</span>
            <span class="tick high">
              {beyond > 0 && '≥ '}
              {effect(limit, table.metric)}
            </span>
          </>
        )}
      </div>
      <p class="faint">
        {METRIC_DESCRIPTIONS[table.metric]}.{faint && ' Greyed: the interval covers 0.'}
        {waiting && (table.finished ? ' Hatched: no value.' : ' Hatched: not computed yet.')}
        {beyond > 0 && ` ${plural(beyond, 'component')} beyond the scale.`}
      </p>
    </div>
  );
}
