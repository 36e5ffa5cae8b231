// The root of the application. The entry file is one folder below it (assets/ when built, src/ in development), so its
// own address gives the root without asking the server: sub-paths and tunnels work. The address goes through a
// variable: Vite would otherwise rewrite the expression as an asset.
const here = import.meta.url;

export const ROOT = new URL('../', here);

export const api = (path: string): string => new URL(`api/${path}`, ROOT).href;

export const page = (path: string): string => new URL(path, ROOT).href;
