import { parseComponent, type Component } from '../model/component';

/** A component in a table: a click selects it. */
export function ComponentButton({ name, onSelect }: { name: string; onSelect: (component: Component) => void }) {
  const component = parseComponent(name);
  return component ? (
    <button type="button" class="pick" onClick={() => onSelect(component)}>
      {name}
    </button>
  ) : (
    <bdi>{name}</bdi>
  );
}
