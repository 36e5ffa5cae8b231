import { render } from 'preact';
import { App } from './app';
import { restoreTheme } from './ui/theme';
import { guardUnsavedEdits } from './views/experiment/notes';
import './styles/base.css';
import './styles/controls.css';
import './styles/tokens.css';
import './styles/home.css';
import './styles/workspace.css';
import './styles/map.css';
import './styles/component.css';
import './styles/panels.css';
import './styles/tuning.css';
import './styles/system.css';

restoreTheme();
guardUnsavedEdits();
const place = document.getElementById('page');
if (place) render(<App />, place);
