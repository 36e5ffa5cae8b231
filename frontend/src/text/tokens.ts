// Tokens are untrusted text: shown as text, never as markup, with invisible characters made visible.
import type { Role, Token } from '../api/wire';

/** Plotly reads tick and hover text as pseudo-HTML: tokens are escaped for it here only. */
export function escapeForPlotly(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/\$/g, '&#36;');
}

// Control and format characters, and marks that change the writing direction: they would displace their neighbours.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A token made visible: ␣ for a space at either end, ⏎ for a newline, ⇥ for a tab, ‹202e› for invisible characters. */
export function visible(text: string): string {
  if (text === '') return '∅';
  return text
    .replace(/^ +| +$/g, (spaces) => '␣'.repeat(spaces.length))
    .replace(/\r\n|\n/g, '⏎')
    .replace(/\t/g, '⇥')
    .replace(UNSEEN, (c) => `‹${c.charCodeAt(0).toString(16).padStart(2, '0')}›`);
}

/** Shortens a text for an axis. Cuts between code points, never inside one. */
export function clip(text: string, most: number): string {
  const letters = [...text];
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join('')}…`;
}

export const ROLE_NAMES: Record<Role, string> = {
  first: 'first token',
  shot: 'worked example',
  operand_a: 'first operand',
  operator: 'operator',
  operand_b: 'second operand',
  equals: 'equals',
  other: 'other',
};

export const ROLES = Object.keys(ROLE_NAMES) as Role[];

/** The roles that occur, in the order of the legend. */
export const rolesIn = (...lists: readonly (readonly Token[])[]): Role[] =>
  ROLES.filter((role) => lists.some((tokens) => tokens.some((token) => token.role === role)));

export interface Column {
  reference: Token | null;
  counterfactual: Token | null;
  changed: boolean;
}

/** Aligns two token lists: common tokens at both ends, the gap in the middle. */
export function align(reference: readonly Token[], counterfactual: readonly Token[]): Column[] {
  const short = Math.min(reference.length, counterfactual.length);
  let head = 0;
  while (head < short && reference[head]?.id === counterfactual[head]?.id) head += 1;
  let tail = 0;
  while (tail < short - head && reference.at(-1 - tail)?.id === counterfactual.at(-1 - tail)?.id) tail += 1;
  const middleA = reference.slice(head, reference.length - tail);
  const middleB = counterfactual.slice(head, counterfactual.length - tail);
  const columns: Column[] = [];
  const add = (a: Token | null, b: Token | null) =>
    columns.push({ reference: a, counterfactual: b, changed: a?.id !== b?.id });
  for (let i = 0; i < head; i += 1) add(reference[i] ?? null, counterfactual[i] ?? null);
  const width = Math.max(middleA.length, middleB.length);
  for (let i = 0; i < width; i += 1) add(middleA[i] ?? null, middleB[i] ?? null);
  for (let i = tail; i > 0; i -= 1) add(reference.at(-i) ?? null, counterfactual.at(-i) ?? null);
  return columns;
}

export interface Line {
  columns: Column[];
  changed: boolean;
  /** Too different for a comparison column by column. */
  apart: boolean;
}

// Such as "What is the sum of" against "2 and 3".
const MOST_CHANGES = 6;

/** Splits the columns into lines: a line ends with a token that contains a newline. */
export function lines(columns: readonly Column[]): Line[] {
  const result: Line[] = [];
  let open: Column[] = [];
  const close = () => {
    const changes = open.filter((column) => column.changed).length;
    if (open.length) result.push({ columns: open, changed: changes > 0, apart: changes > MOST_CHANGES });
    open = [];
  };
  for (const column of columns) {
    open.push(column);
    if ((column.reference ?? column.counterfactual)?.text.includes('\n')) close();
  }
  close();
  return result;
}

/** A prompt in one line: its last line, without the worked examples. */
export function lastLine(text: string): string {
  const lines = text.trimEnd().split(/\r?\n/);
  return (lines.at(-1) ?? '').trim() || text.trim();
}

export const textOf = (tokens: readonly Token[]): string => tokens.map((token) => token.text).join('');
