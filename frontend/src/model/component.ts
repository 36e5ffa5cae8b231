// The one spelling of a component: L14H2 is head 2 of layer 14, MLP19 the MLP of layer 19, counted from 0.

export interface Component {
  readonly layer: number;
  /** null for an MLP. */
  readonly head: number | null;
}

const SPELLING = /^(?:L(0|[1-9]\d{0,3})H(0|[1-9]\d{0,3})|MLP(0|[1-9]\d{0,3}))$/;

/** Parses a component name; null if it is not one. */
export function parseComponent(text: string): Component | null {
  const match = SPELLING.exec(text);
  if (!match) return null;
  return match[3] !== undefined
    ? { layer: Number(match[3]), head: null }
    : { layer: Number(match[1]), head: Number(match[2]) };
}

export const componentName = ({ layer, head }: Component): string =>
  head === null ? `MLP${layer}` : `L${layer}H${head}`;

/** For screen readers: "layer 14 head 2", "MLP of layer 19". */
export const spokenName = ({ layer, head }: Component): string =>
  head === null ? `MLP of layer ${layer}` : `layer ${layer} head ${head}`;

export const sameComponent = (a: Component | null, b: Component | null): boolean =>
  a === b || (a !== null && b !== null && a.layer === b.layer && a.head === b.head);
