// Tokens as chips, tinted by the part they play. Always text nodes, isolated so that no token can turn its neighbours.
import type { Role, Token } from '../api/wire';
import { align, lines, ROLE_WORDS, visible } from '../text/tokens';

export function Chip({ token, changed = false }: { token: Token; changed?: boolean }) {
  const words = ROLE_WORDS[token.role];
  return (
    <span class={`chip role-${token.role}${changed ? ' changed' : ''}`} title={`${words} · id ${token.id}`}>
      <bdi>{visible(token.text)}</bdi>
    </span>
  );
}

/** The two prompts under one another. Lines that are the same in both are shown once; what differs is framed. */
export function AlignedChips({
  reference,
  counterfactual,
}: {
  reference: readonly Token[];
  counterfactual: readonly Token[];
}) {
  return (
    <div class="aligned">
      <p class="unseen">
        Reference: {reference.map((token) => visible(token.text)).join(' ')}. Counterfactual:{' '}
        {counterfactual.map((token) => visible(token.text)).join(' ')}.
      </p>
      <div class="aligned-lines" aria-hidden="true">
        {lines(align(reference, counterfactual)).map(({ columns, changed }, i) => (
          <div class="aligned-line" key={i}>
            <div class={`names${changed ? ' both' : ''}`}>
              <span>{changed ? 'reference' : 'in both'}</span>
              {changed && <span>counterfactual</span>}
            </div>
            <div class="columns">
              {columns.map((column, j) => (
                <div class="column" key={j}>
                  <Place token={column.reference} changed={column.changed} />
                  {changed && <Place token={column.counterfactual} changed={column.changed} />}
                </div>
              ))}
            </div>
          </div>
        ))}
      </div>
    </div>
  );
}

const Place = ({ token, changed }: { token: Token | null; changed: boolean }) =>
  token ? <Chip token={token} changed={changed} /> : <span class="chip empty" />;

export function RoleLegend({ roles }: { roles: readonly Role[] }) {
  return (
    <ul class="legend" aria-label="What the colours of the tokens mean">
      {roles.map((role) => (
        <li key={role} class={`role-${role}`}>
          <span class="swatch" />
          {ROLE_WORDS[role]}
        </li>
      ))}
    </ul>
  );
}
