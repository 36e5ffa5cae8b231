// Prints what the untouched forms submit, as JSON: `npm run --silent defaults`.
import { untouchedSpecs } from './src/untouched';

console.log(JSON.stringify(untouchedSpecs(), null, 2));
