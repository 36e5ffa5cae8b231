// The System page: workers, queue, store, models, and recent failures.
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { models as loadModels, system } from '../../api/client';
import type { Experiment, ModelCard, SystemReport, WorkerReport } from '../../api/wire';
import { page } from '../../root';
import { STATE_LABELS } from '../../text/experiment';
import { ago, bytes, duration, millions, plural } from '../../text/numbers';
import { kindName } from '../../text/titles';
import { useLoad } from '../../ui/hooks';
import { Link, Notice, ErrorMessage } from '../../ui/parts';

const REFRESH_MS = 3_000;

export function System() {
  const report = useLoad('system', system, REFRESH_MS);
  const cards = useLoad('models', loadModels, 30_000);
  useEffect(() => {
    document.title = 'System · Arithmoscope';
  }, []);
  return (
    <div class="system">
      <h1 tabIndex={-1}>System</h1>
      {report.error && (
        <ErrorMessage problem={report.error}>
          {report.data && <p>The values below are the last ones received.</p>}
        </ErrorMessage>
      )}
      {!report.data && !report.error && <p class="faint">Loading…</p>}
      {report.data && <Report report={report.data} />}
      <Models cards={cards.data} />
      {cards.error && !report.error && <ErrorMessage problem={cards.error} />}
    </div>
  );
}

function Report({ report }: { report: SystemReport }) {
  const { queue, store, workers } = report;
  return (
    <>
      {report.broker === 'down' && (
        <Notice tone="warn">The queue cannot be reached. New runs are stored and start when it is back.</Notice>
      )}
      <Part title="Workers">
        {workers.length === 0 ? (
          <Notice tone="warn">
            No worker: results are readable, new runs will wait. Start one: arithmoscope worker
          </Notice>
        ) : (
          <Table head={['Worker', 'Device', 'Models in memory', 'Running', 'Last seen']}>
            {workers.map((worker) => (
              <Worker key={worker.id} worker={worker} />
            ))}
          </Table>
        )}
      </Part>
      <Part title="Queue">
        <Facts
          facts={[
            ['Running', String(queue.running)],
            ['Waiting', String(queue.waiting)],
            ['Longest wait', queue.oldest_wait_s === null ? '–' : duration(queue.oldest_wait_s)],
            [
              'Unfinished runs per access token',
              report.quota === 0 ? 'unlimited' : `at most ${report.quota.toLocaleString('en')}`,
            ],
          ]}
        />
      </Part>
      <Part title="Store">
        <Facts
          facts={[
            ...Object.entries(store.experiments).map(
              ([state, n]) =>
                [`Experiments ${STATE_LABELS[state as Experiment['state']]}`, n.toLocaleString('en')] as const,
            ),
            ['Deleted, can be restored', store.deleted.toLocaleString('en')],
            ['Results and partial results', bytes(store.artifact_bytes)],
            ['Disk quota', store.budget_bytes === null ? 'unlimited' : bytes(store.budget_bytes)],
            ['Free disk space', store.free_bytes === null ? 'unknown' : bytes(store.free_bytes)],
          ]}
        />
        {store.budget_bytes !== null && (
          <meter
            min={0}
            max={store.budget_bytes}
            high={0.9 * store.budget_bytes}
            value={store.artifact_bytes}
            aria-label="Share of the disk quota used"
          />
        )}
      </Part>
      <Part title="Run times">
        {report.durations.length === 0 ? (
          <p class="faint">No run was measured yet.</p>
        ) : (
          <Table head={['Kind', 'Model', 'Mean time', 'Measured over']} numbers={['Mean time', 'Measured over']}>
            {report.durations.map((each) => (
              <tr key={`${each.kind} ${each.model}`}>
                <td>{kindName(each.kind)}</td>
                <td>{each.model}</td>
                <td class="number">{duration(each.mean_s)}</td>
                <td class="number">{plural(each.n, 'run')}</td>
              </tr>
            ))}
          </Table>
        )}
      </Part>
      <Part title="Recent failures">
        {report.failures.length === 0 ? (
          <p class="faint">None.</p>
        ) : (
          <Table head={['Experiment', 'Error', 'When']}>
            {report.failures.map((each) => (
              <tr key={each.experiment}>
                <td>
                  <Link to={page(`analyses/${each.experiment}`)}>{each.experiment.slice(0, 8)}</Link>
                </td>
                <td>
                  <strong>{each.title}.</strong> {each.detail}
                </td>
                <td class="faint">{ago(new Date(each.at), new Date())}</td>
              </tr>
            ))}
          </Table>
        )}
      </Part>
      <Part title="Server">
        <Facts
          facts={[
            ['Version', report.version],
            ['Started', ago(new Date(report.started_at), new Date())],
            ['Queue', report.broker === 'ok' ? 'reachable' : 'down'],
            ['Live connections', String(report.live_readers)],
          ]}
        />
      </Part>
    </>
  );
}

function Worker({ worker }: { worker: WorkerReport }) {
  return (
    <tr>
      <td>
        <bdi>{worker.id}</bdi>
      </td>
      <td>{worker.device}</td>
      <td>{worker.models.length > 0 ? <bdi>{worker.models.join(', ')}</bdi> : <span class="faint">none</span>}</td>
      <td>
        {worker.experiment ? (
          <Link to={page(`analyses/${worker.experiment}`)}>{worker.experiment.slice(0, 8)}</Link>
        ) : (
          <span class="faint">{worker.busy ? 'busy' : 'idle'}</span>
        )}
      </td>
      <td class="faint">{worker.seen_s < 5 ? 'just now' : `${duration(worker.seen_s)} ago`}</td>
    </tr>
  );
}

function Models({ cards }: { cards: readonly ModelCard[] | null }) {
  if (!cards) return null;
  return (
    <Part title="Models">
      {cards.length === 0 ? (
        <p class="faint">None yet: arithmoscope models fetch smollm2-135m</p>
      ) : (
        <Table head={['Model', 'Source', 'Size', 'Layers × heads', 'Supported']} numbers={['Size', 'Layers × heads']}>
          {cards.map((card) => (
            <tr key={card.id}>
              <td>
                <bdi>{card.name}</bdi>
              </td>
              <td>
                <ModelSource card={card} cards={cards} />
              </td>
              <td class="number">{card.parameters > 0 ? millions(card.parameters) : '–'}</td>
              <td class="number">{card.layers > 0 ? `${card.layers} × ${card.heads}` : '–'}</td>
              <td>{card.supported ? 'yes' : `no: ${card.reason ?? 'it cannot run here'}`}</td>
            </tr>
          ))}
        </Table>
      )}
    </Part>
  );
}

/** The source of a model; for a tuned one, its base and its fine-tuning. */
function ModelSource({ card, cards }: { card: ModelCard; cards: readonly ModelCard[] }) {
  if (card.source !== 'tuned') return <span class="faint">{SOURCES[card.source]}</span>;
  const base = cards.find(({ id }) => id === card.base)?.name ?? card.base;
  return (
    <>
      tuned from <bdi>{base ?? 'a deleted model'}</bdi>
      {card.experiment && (
        <>
          {' '}
          by <Link to={page(`analyses/${card.experiment}`)}>fine-tuning</Link>
        </>
      )}
    </>
  );
}

const SOURCES: Record<Exclude<ModelCard['source'], 'tuned'>, string> = {
  demo: 'demo model',
  bundled: 'comes with Arithmoscope',
  folder: 'local folder',
  hub: 'Hugging Face Hub',
};

function Part({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

interface TableProps {
  head: readonly string[];
  /** Headings over columns of numbers. */
  numbers?: readonly string[];
  children: ComponentChildren;
}

function Table({ head, numbers = [], children }: TableProps) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            {head.map((name) => (
              <th key={name} {...(numbers.includes(name) ? { class: 'number' } : {})}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

function Facts({ facts }: { facts: readonly (readonly [name: string, value: string])[] }) {
  return (
    <dl class="plain-facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd class="number">{value}</dd>
        </div>
      ))}
    </dl>
  );
}
