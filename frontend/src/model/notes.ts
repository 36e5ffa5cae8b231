// Unsaved edits of names and notes. They outlive the page they were typed on, until the window is closed.
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

/** Only the fields that were typed and differ: a colleague may have written the others meanwhile. */
export function changedFields(typed: Edits, kept: NameAndNotes): Edits {
  const { name, notes } = typed;
  return {
    ...(name !== undefined && name !== kept.name ? { name } : {}),
    ...(notes !== undefined && notes !== kept.notes ? { notes } : {}),
  };
}

/** The edits that remain after `sent` was saved: those typed meanwhile. */
export function remainingEdits(typed: Edits, sent: Edits): Edits {
  const { name, notes } = typed;
  return {
    ...(name !== undefined && name !== sent.name ? { name } : {}),
    ...(notes !== undefined && notes !== sent.notes ? { notes } : {}),
  };
}

/** True if closing the window would lose edits. */
export const hasUnsavedEdits = (): boolean => drafts.size > 0;
