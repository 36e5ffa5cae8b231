// Transfers: heads found on each set of prompts, knocked out on every set.
import type { TransferSpec } from '../../api/wire';
import type { ExperimentKind } from '../../kinds';
import { plural } from '../../text/numbers';
import { NewTransfer } from './form';
import { TransferPage } from './transfer';

export const kind: ExperimentKind<TransferSpec> = {
  kind: 'transfer',
  title: ({ found_on, evaluated_on }) =>
    `Transfer from ${plural(found_on.length, 'set')} to ${plural(evaluated_on.length, 'set')} of prompts`,
  method: () => 'transfer',
  unit: 'set',
  // It needs the whole matrix.
  mayHaveResult: () => false,
  remains: () =>
    'a partial matrix cannot be interpreted, so there is no result; running it again resumes from the finished sets',
  Page: TransferPage,
  form: { path: 'transfer', Form: NewTransfer },
};
