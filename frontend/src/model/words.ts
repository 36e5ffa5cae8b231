// What is typed beside analyses and not saved yet. It outlives the page it was typed on, until this window is closed.
export interface Words {
  name: string;
  notes: string;
}
export type Typed = Partial<Words>;

const drafts = new Map<string, Typed>();

export const draftOf = (id: string): Typed => drafts.get(id) ?? {};

export function keepDraft(id: string, typed: Typed): void {
  if (Object.keys(typed).length > 0) drafts.set(id, typed);
  else drafts.delete(id);
}

/** Only what was typed and is another: a colleague may have written the rest meanwhile. */
export function changes(typed: Typed, kept: Words): Typed {
  const { name, notes } = typed;
  return {
    ...(name !== undefined && name !== kept.name ? { name } : {}),
    ...(notes !== undefined && notes !== kept.notes ? { notes } : {}),
  };
}

/** What is left of the typed after `sent` was saved: what was typed meanwhile. */
export function leftOf(typed: Typed, sent: Typed): Typed {
  const { name, notes } = typed;
  return {
    ...(name !== undefined && name !== sent.name ? { name } : {}),
    ...(notes !== undefined && notes !== sent.notes ? { notes } : {}),
  };
}

/** Whether something typed would be lost with the window. */
export const hasDrafts = (): boolean => drafts.size > 0;
