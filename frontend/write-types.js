// Writes src/api/types.ts from ../openapi.json: `npm run types`. Only the schemas that the page names, and what they
// refer to, are written.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import openapiTS, { astToString } from 'openapi-typescript';

const NAMED = /\bSchemas?(?:\[|<)\s*'(\w+)'/g;
const REFERENCE = /"#\/components\/schemas\/(\w+)"/g;
/** Titles repeat the names of the fields. A field of this name is no string. */
const untitled = (key, value) => (key === 'title' && typeof value === 'string' ? undefined : value);
const matches = (text, pattern) => [...text.matchAll(pattern)].map(([, name]) => name);

/** Leaves out the defaults, some of them long lists: vocabulary.ts has them. */
function withoutDefaults(text) {
  let inside = false;
  return text
    .split('\n')
    .filter((line) => {
      if (/^\s*\/\*\* @default .*\*\/$/.test(line)) return false;
      if (/^\s*\* @default /.test(line)) inside = true;
      else if (/^\s*\*(\/| @)/.test(line)) inside = false;
      return !inside;
    })
    .join('\n');
}

/** The generated types as text. */
export async function typesText(folder = import.meta.dirname) {
  const { openapi, info, components } = JSON.parse(
    JSON.stringify(JSON.parse(readFileSync(`${folder}/../openapi.json`, 'utf-8')), untitled),
  );
  const sources = readdirSync(`${folder}/src`, { recursive: true, encoding: 'utf-8' })
    .filter((name) => /\.tsx?$/.test(name) && !name.endsWith('types.ts'))
    .map((name) => readFileSync(`${folder}/src/${name}`, 'utf-8'));
  const wanted = new Set();
  const add = (name) => {
    if (wanted.has(name)) return;
    if (!(name in components.schemas)) throw new Error(`openapi.json has no schema ${name}`);
    wanted.add(name);
    matches(JSON.stringify(components.schemas[name]), REFERENCE).forEach(add);
  };
  sources.flatMap((text) => matches(text, NAMED)).forEach(add);
  const schemas = Object.fromEntries(Object.entries(components.schemas).filter(([name]) => wanted.has(name)));
  const tree = await openapiTS({ openapi, info, paths: {}, components: { schemas } });
  return `// Generated from openapi.json: \`npm run types\`. Do not edit.\n\n${withoutDefaults(astToString(tree))}`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  writeFileSync(`${import.meta.dirname}/src/api/types.ts`, await typesText());
