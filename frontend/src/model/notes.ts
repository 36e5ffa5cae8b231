// What is typed beside analyses and not saved yet. It outlives the page it was typed on, until this window is closed.
export interface NameAndNotes {
  name: string;
  notes: string;
}
export type Edits = Partial<NameAndNotes>;

const drafts = new Map<string, Edits>();

export const unsavedEdits = (id: string): Edits => drafts.get(id) ?? {};

export function keepEdits(id: string, typed: Edits): void {
  if (Object.keys(typed).length > 0) drafts.set(id, typed);
  else drafts.delete(id);
}

/** Only what was typed and is another: a colleague may have written the rest meanwhile. */
export function changedFields(typed: Edits, kept: NameAndNotes): Edits {
  const { name, notes } = typed;
  return {
    ...(name !== undefined && name !== kept.name ? { name } : {}),
    ...(notes !== undefined && notes !== kept.notes ? { notes } : {}),
  };
}

/** What is left of the typed after `sent` was saved: what was typed meanwhile. */
export function remainingEdits(typed: Edits, sent: Edits): Edits {
  const { name, notes } = typed;
  return {
    ...(name !== undefined && name !== sent.name ? { name } : {}),
    ...(notes !== undefined && notes !== sent.notes ? { notes } : {}),
  };
}

/** Whether something typed would be lost with the window. */
export const hasUnsavedEdits = (): boolean => drafts.size > 0;
