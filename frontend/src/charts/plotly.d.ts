// Types of the part of plotly.js that is used; the package has none.
declare module 'plotly.js-cartesian-dist-min' {
  export interface Figure {
    data: object[];
    layout: object;
  }
  export interface Plotly {
    react(element: HTMLElement, data: object[], layout: object, config: object): Promise<unknown>;
    purge(element: HTMLElement): void;
    toImage(
      figure: { data: object[]; layout: object; config?: object },
      options: { format: 'png' | 'svg'; width: number; height: number; scale?: number },
    ): Promise<string>;
  }
  const plotly: Plotly;
  export default plotly;
}
