// Theme: light, dark, or that of the system. The choice is all that is kept in local storage.
import { createContext, type ComponentChildren } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import type { Theme } from '../charts/colours';

export type Choice = 'auto' | Theme;
const KEY = 'arithmoscope.theme';
const CHOICES: readonly Choice[] = ['auto', 'light', 'dark'];

// Storage may be forbidden (a private window, a policy): the choice then lasts as long as the page.
const storage = {
  read(): string | null {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  },
  write(choice: Choice): void {
    try {
      if (choice === 'auto') localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      // Kept in memory only.
    }
  },
};

function apply(choice: Choice): void {
  if (choice === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
}

const stored = (): Choice => CHOICES.find((choice) => choice === storage.read()) ?? 'auto';

/** Called before the first paint, so that the page does not flash. */
export const restoreTheme = (): void => apply(stored());

const dark = () => matchMedia('(prefers-color-scheme: dark)');

const ThemeContext = createContext<{ theme: Theme; choice: Choice; choose: (choice: Choice) => void }>({
  theme: 'light',
  choice: 'auto',
  choose: () => undefined,
});

export function ThemeProvider({ children }: { children: ComponentChildren }) {
  const [choice, setChoice] = useState<Choice>(stored);
  const [system, setSystem] = useState<Theme>(dark().matches ? 'dark' : 'light');
  useEffect(() => {
    const query = dark();
    const update = () => setSystem(query.matches ? 'dark' : 'light');
    query.addEventListener('change', update);
    return () => query.removeEventListener('change', update);
  }, []);
  const choose = (next: Choice) => {
    storage.write(next);
    apply(next);
    setChoice(next);
  };
  const theme = choice === 'auto' ? system : choice;
  return <ThemeContext.Provider value={{ theme, choice, choose }}>{children}</ThemeContext.Provider>;
}

export const useTheme = (): Theme => useContext(ThemeContext).theme;

const WORDS: Record<Choice, string> = { auto: '◐ Auto', light: '☀ Light', dark: '☾ Dark' };

export function ThemeToggle() {
  const { choice, choose } = useContext(ThemeContext);
  const next = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length] ?? 'auto';
  return (
    <button
      type="button"
      class="quiet theme"
      aria-label={`Theme: ${choice}. Change to ${next}`}
      title={`Theme: ${choice}`}
      onClick={() => choose(next)}
    >
      {WORDS[choice]}
    </button>
  );
}
