// Tokens as chips, tinted by the part they play. Always text nodes, isolated so that no token can turn its neighbours.
import type { Role, Token } from '../api/wire';
import { align, ROLE_WORDS, visible } from '../text/tokens';

export function Chip({ token, changed = false }: { token: Token; changed?: boolean }) {
  const words = ROLE_WORDS[token.role];
  return (
    <span class={`chip role-${token.role}${changed ? ' changed' : ''}`} title={`${words} · id ${token.id}`}>
      <bdi>{visible(token.text)}</bdi>
    </span>
  );
}

/** The two prompts under one another, column by column; what differs is framed. */
export function AlignedChips({ reference, counterfactual }: { reference: readonly Token[]; counterfactual: readonly Token[] }) {
  const columns = align(reference, counterfactual);
  return (
    <div class="aligned">
      <p class="unseen">
        Reference: {reference.map((token) => visible(token.text)).join(' ')}. Counterfactual:{' '}
        {counterfactual.map((token) => visible(token.text)).join(' ')}.
      </p>
      <div class="columns" aria-hidden="true">
        <div class="column names">
          <span>reference</span>
          <span>counterfactual</span>
        </div>
        {columns.map((column, i) => (
          <div class="column" key={i}>
            {column.reference ? <Chip token={column.reference} changed={column.changed} /> : <span class="chip empty" />}
            {column.counterfactual ? (
              <Chip token={column.counterfactual} changed={column.changed} />
            ) : (
              <span class="chip empty" />
            )}
          </div>
        ))}
      </div>
    </div>
  );
}

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
