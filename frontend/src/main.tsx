import { render } from 'preact';
import { App } from './app';
import { restoreTheme } from './ui/theme';
import './styles/base.css';
import './styles/home.css';
import './styles/workspace.css';

restoreTheme();
const place = document.getElementById('page');
if (place) render(<App />, place);
