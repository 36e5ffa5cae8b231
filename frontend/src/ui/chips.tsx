// Tokens as chips, tinted by role. Always text nodes, isolated so that no token can reverse its neighbours.
import type { Role, Token } from '../api/wire';
import { align, lines, ROLE_NAMES, visible } from '../text/tokens';

export function Chip({ token, changed = false }: { token: Token; changed?: boolean }) {
  const label = ROLE_NAMES[token.role];
  return (
    <span class={`chip role-${token.role}${changed ? ' changed' : ''}`} title={`${label} · id ${token.id}`}>
      <bdi>{visible(token.text)}</bdi>
    </span>
  );
}

/** The two prompts aligned. Lines equal in both are shown once; differences are framed. */
export function AlignedChips({
  reference,
  counterfactual,
}: {
  reference: readonly Token[];
  counterfactual: readonly Token[];
}) {
  // Without a counterfactual there is one prompt to show, and nothing to compare it with.
  const alone = counterfactual.length === 0;
  return (
    <div class="aligned">
      <p class="unseen">
        Reference: {reference.map((token) => visible(token.text)).join(' ')}.
        {!alone && ` Counterfactual: ${counterfactual.map((token) => visible(token.text)).join(' ')}.`}
      </p>
      <div class="aligned-lines" aria-hidden="true">
        {lines(align(reference, counterfactual)).map((line, i) =>
          line.apart && !alone ? (
            <>
              <Row key={`${i}r`} names={['reference']} columns={line.columns.map(({ reference: token }) => [token])} />
              <Row
                key={`${i}c`}
                names={['counterfactual']}
                columns={line.columns.map(({ counterfactual: token }) => [token])}
              />
            </>
          ) : line.changed && !alone ? (
            <Row
              key={i}
              names={['reference', 'counterfactual']}
              columns={line.columns.map((column) => [column.reference, column.counterfactual])}
              changed={line.columns.map((column) => column.changed)}
            />
          ) : (
            <Row
              key={i}
              names={[alone ? 'reference' : 'in both']}
              columns={line.columns.map((column) => [column.reference])}
            />
          ),
        )}
      </div>
    </div>
  );
}

/** Labels on the left, tokens in columns. In a row of one prompt, missing tokens take no space. */
function Row({
  names,
  columns,
  changed = [],
}: {
  names: readonly string[];
  columns: readonly (readonly (Token | null)[])[];
  changed?: readonly boolean[];
}) {
  return (
    <div class="aligned-line">
      <div class="names">
        {names.map((name) => (
          <span key={name}>{name}</span>
        ))}
      </div>
      <div class="columns">
        {columns
          .filter((tokens) => tokens.some((token) => token !== null))
          .map((tokens, j) => (
            <div class="column" key={j}>
              {tokens.map((token, k) =>
                token ? (
                  <Chip key={k} token={token} changed={changed[j] ?? false} />
                ) : (
                  <span key={k} class="chip empty" />
                ),
              )}
            </div>
          ))}
      </div>
    </div>
  );
}

export function RoleLegend({ roles }: { roles: readonly Role[] }) {
  return (
    <ul class="legend" aria-label="Token colours">
      {roles.map((role) => (
        <li key={role} class={`role-${role}`}>
          <span class="swatch" />
          {ROLE_NAMES[role]}
        </li>
      ))}
    </ul>
  );
}
