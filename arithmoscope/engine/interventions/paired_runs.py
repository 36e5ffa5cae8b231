"""Reference and counterfactual runs of prompt pairs, the starting point of every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.activations import PASS_TOKENS, EndStates, end_states
from arithmoscope.engine.forward.logits import all_logits, column_logits, competitors
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs with both runs' states at END and the model's answers. Logits are raw, in the model's own scale."""

    encoded: tuple[EncodedPair, ...]
    reference: EndStates
    counterfactual: EndStates
    columns: Int[Tensor, "pair 2"]  # token ids: the answer, the best competing number
    top: Int[Tensor, " pair"]
    reference_logits: Float[Tensor, "pair 2"]
    counterfactual_logits: Float[Tensor, "pair 2"]
    log_total: Float[Tensor, " pair"]  # log-sum-exp of the reference run's logits

    def __len__(self) -> int:
        return len(self.encoded)

    @property
    def correct(self) -> Tensor:
        return self.top == self.columns[:, 0]

    def select(self, rows: Sequence[int]) -> PreparedPairs:
        """The pairs at the given indices."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.top.device)
        return PreparedPairs(
            tuple(self.encoded[row] for row in rows),
            self.reference[index],
            self.counterfactual[index],
            self.columns[index],
            self.top[index],
            self.reference_logits[index],
            self.counterfactual_logits[index],
            self.log_total[index],
        )


@torch.no_grad()
def prepare_pairs(model: LoadedModel, encoded: Sequence[EncodedPair], tokens: int = PASS_TOKENS) -> PreparedPairs:
    """Runs both prompts of every pair: states at END and the model's answers.

    Raises:
        Refusal: ``not_finite`` if logits are not finite.
    """
    n = len(encoded)
    states = end_states(model, [e.reference_ids for e in encoded] + [e.counterfactual_ids for e in encoded], tokens)
    reference, counterfactual = states[range(n)], states[range(n, 2 * n)]
    logits = all_logits(model, reference.final)
    if not bool(logits.isfinite().all()):
        raise Refusal("not_finite", "The reference run's logits are not finite.")
    answers = torch.tensor([e.answer_id for e in encoded], device=model.device)
    columns = torch.stack([answers, competitors(model, logits, encoded)], dim=1)
    return PreparedPairs(
        encoded=tuple(encoded),
        reference=reference,
        counterfactual=counterfactual,
        columns=columns,
        top=logits.argmax(-1),
        reference_logits=logits.gather(1, columns),
        counterfactual_logits=column_logits(model.layout, counterfactual.final, columns),
        log_total=logits.logsumexp(-1),
    )
