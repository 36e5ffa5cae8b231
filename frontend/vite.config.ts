import { readFileSync } from 'node:fs';
import { defineConfig, type Plugin } from 'vite';
import { dependencies } from './package.json';

export default defineConfig({
  // Relative addresses: the page must work under a sub-path and through a tunnel. index.html carries
  // <base href="/">, which the server replaces with its own root.
  base: './',
  plugins: [licences()],
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  build: {
    target: 'es2022',
    // Package data: what `arithmoscope serve` shows.
    outDir: '../arithmoscope/page',
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    // A data: font or script would be refused by the content policy; files are always allowed.
    assetsInlineLimit: 0,
    // plotly.js is one file of 1.5 MB, loaded only on the pages that draw.
    chunkSizeWarningLimit: 1700,
  },
  server: { proxy: { '/api': 'http://127.0.0.1:8000' } },
});

/** licences.txt: the licences of the bundled packages, which the minified files no longer carry. */
function licences(): Plugin {
  return {
    name: 'licences',
    apply: 'build',
    generateBundle() {
      const source = Object.entries(dependencies).map(
        ([name, version]) => `${name} ${version}\n\n${readFileSync(`node_modules/${name}/LICENSE`, 'utf-8').trim()}\n`,
      );
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source: source.join('\n') });
    },
  };
}
