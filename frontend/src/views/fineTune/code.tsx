// The fine-tuning as Python, command line and HTTP request.
import { useEffect, useState } from 'preact/hooks';
import type { FineTuneResult } from '../../api/fineTune';
import { api } from '../../root';
import { command, curl, python } from '../../text/snippets';
import { copyText } from '../../ui/parts';

export function CodeFold({ result }: { result: FineTuneResult }) {
  const line = command(result.spec);
  return (
    <details class="fold code-fold">
      <summary>Reproduce in Python or on the command line</summary>
      <div class="set">
        <Code name="Python" text={python(result)} />
        {line && <Code name="Command" text={line} />}
        <Code name="Request" text={curl(result.spec, api('experiments'))} />
      </div>
    </details>
  );
}

const LONGEST = 4_000;

function Code({ name, text }: { name: string; text: string }) {
  const [status, setStatus] = useState('');
  useEffect(() => {
    if (status === '') return undefined;
    const timer = setTimeout(() => setStatus(''), 2_500);
    return () => clearTimeout(timer);
  }, [status]);
  return (
    <div class="code">
      <div class="row">
        <h3>{name}</h3>
        <button
          type="button"
          class="quiet"
          onClick={() => void copyText(text).then((done) => setStatus(done ? 'Copied' : 'Select the text to copy it'))}
        >
          Copy<span class="unseen"> {name}</span>
        </button>
        <span class="faint" role="status">
          {status}
        </span>
      </div>
      <pre tabIndex={0} aria-label={name}>
        {text.length > LONGEST
          ? `${text.slice(0, LONGEST)}…\n(${text.length.toLocaleString('en')} characters; Copy takes all of them)`
          : text}
      </pre>
    </div>
  );
}
