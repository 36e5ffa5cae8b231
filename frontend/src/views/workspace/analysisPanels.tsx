// The folded panels of a finished analysis. Each is loaded when it is opened.
import { useEffect, useState } from 'preact/hooks';
import { componentName } from '../../model/component';
import { panelsAt, type AnalysisPanel, type PanelProps } from '../../panels';
import { FoldedPanel } from '../../ui/foldedPanel';

/** Those below the map: views of the whole analysis, and the experiments on its components. */
export function AnalysisPanels(props: PanelProps) {
  const { view, change } = props;
  return (
    <div class="analysis-panels">
      {panelsAt().map(({ name, title, description, Panel }) => (
        <FoldedPanel
          key={name}
          name={title}
          description={description}
          open={view.open.includes(name)}
          toggle={(open) => change({ open: open ? [...view.open, name] : view.open.filter((each) => each !== name) })}
        >
          {() => <Panel {...props} />}
        </FoldedPanel>
      ))}
    </div>
  );
}

/** Those below the selected component. */
export const ComponentPanels = (props: PanelProps) => (
  <>
    {panelsAt('component').map((panel) => (
      <OfComponent key={panel.name} panel={panel} {...props} />
    ))}
  </>
);

function OfComponent({ panel: { title, Panel }, ...props }: PanelProps & { panel: AnalysisPanel }) {
  const name = props.selected && componentName(props.selected);
  const [open, setOpen] = useState(false);
  // A worker computes it, so it is requested again only when it is unfolded for another component.
  useEffect(() => setOpen(false), [props.id, name]);
  return (
    <details class="fold" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{title}</summary>
      {open && (
        <div>
          <Panel {...props} />
        </div>
      )}
    </details>
  );
}
