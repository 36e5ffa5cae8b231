"""The errors that a user sees: one exception with a typed code, and a table of codes.

A refusal says what is wrong, why, and the way out. It is raised anywhere below; only the HTTP layer and the command
line turn it into a status or an exit code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

Code = Literal[
    "bad_component",
    "no_arithmetic",
    "empty_prompt",
    "prompt_too_long",
    "answer_several_tokens",
    "answer_not_a_token",
    "no_counterfactual",
    "no_chat_template",
    "bad_chat_template",
    "no_prompts",
    "none_kept",
    "impossible_options",
    "lengths_differ",
    "bad_http",
    "headers_too_large",
    "too_busy",
    "bad_request",
    "bad_file",
    "not_json",
    "not_a_table",
    "body_too_large",
    "encoded_body",
    "bad_upload",
    "too_slow",
    "too_many_requests",
    "quota_exceeded",
    "unknown_model",
    "ambiguous_model",
    "unsupported_architecture",
    "bad_model_files",
    "bad_tokenizer",
    "hub_not_allowed",
    "hub_unreachable",
    "model_too_large",
    "not_finite",
    "out_of_memory",
    "unknown_experiment",
    "not_finished",
    "no_result",
    "wrong_kind",
    "model_changed",
    "no_components",
    "overlapping_splits",
    "training_broke",
    "metric_not_computed",
    "still_running",
    "not_restorable",
    "not_retryable",
    "attention_not_stored",
    "out_of_range",
    "worker_lost",
    "no_worker",
    "store_unavailable",
    "store_full",
    "forbidden",
    "token_required",
    "method_not_allowed",
    "not_found",
    "internal",
    "data_dir_in_use",
    "port_in_use",
    "bad_setting",
]


class Refusal(Exception):
    """A request that Arithmoscope cannot carry out. Catch it, or one of its subclasses.

    The message is one line: what is wrong, why, and the way out. `Refusal(code, ...)` creates the subclass that
    `PROBLEMS` names for the code, so that ``except am.ModelNotFound`` works wherever it was raised.

    Args:
        code: A row of `PROBLEMS`.
        detail: One sentence about this case.
        way_out: One sentence on how to proceed; None for the row's own.

    Example:
        >>> try:
        ...     am.load_model("no-such-model")
        ... except am.Refusal as refusal:
        ...     print(refusal.code)
        unknown_model
    """

    def __new__(cls, code: Code, *_args: Any, **_more: Any) -> Self:
        kind: Any = PROBLEMS[code].error if cls is Refusal else cls
        return super().__new__(kind)

    def __init__(self, code: Code, detail: str, way_out: str | None = None) -> None:
        super().__init__(detail)
        self.code: Code = code
        self.detail = detail
        self.problem = PROBLEMS[code]
        self.way_out = way_out or self.problem.way_out

    def __str__(self) -> str:
        return f"{self.problem.title}: {self.detail} {self.way_out}"

    # Exceptions are pickled by multiprocessing with `args` alone; this one has three.
    def __reduce__(self) -> tuple[type[Refusal], tuple[Code, str, str]]:
        return type(self), (self.code, self.detail, self.way_out)

    def details(self) -> ProblemDetails:
        """The refusal as an RFC 9457 problem document.

        Returns:
            Type, title, HTTP status, detail and way out.
        """
        return ProblemDetails(
            type=f"urn:arithmoscope:problem:{self.code}",
            title=self.problem.title,
            status=self.problem.status,
            detail=self.detail,
            way_out=self.way_out,
        )


class ModelNotFound(Refusal):
    """The model was not found: it is not in the models folder, and the hub is off, unreachable or does not have it."""


class UnsupportedModel(Refusal):
    """The model exists but cannot be analysed: its architecture, files, tokenizer or chat template."""


class BadPrompt(Refusal):
    """A prompt, an answer, or a set of prompts that cannot be analysed."""


class BadComponent(Refusal):
    """A component that is misspelt, that the model does not have, or that is missing."""


class BadArgument(Refusal):
    """An option out of range, options that exclude each other, or a file of another kind."""


class OutOfMemory(Refusal):
    """The model, or one prompt of the analysis, does not fit into memory."""


class NotFinite(Refusal):
    """The model computes NaN or infinity."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of refusal: HTTP status, title, default way out, and the exception's class."""

    status: int
    title: str
    way_out: str
    error: type[Refusal] = Refusal


PROBLEMS: dict[Code, Problem] = {
    # Prompts, components and options
    "bad_component": Problem(
        422, "Invalid component", "Write a head as L14H2 and an MLP as MLP19, both from 0.", BadComponent
    ),
    "no_arithmetic": Problem(
        422, "No arithmetic found", "Give the answer yourself, or write a sum such as '3 + 5 ='.", BadPrompt
    ),
    "empty_prompt": Problem(422, "Empty prompt", "Type a sum such as '3 + 5 ='.", BadPrompt),
    "prompt_too_long": Problem(413, "Prompt too long", "Shorten the prompt or use fewer shots.", BadPrompt),
    "answer_several_tokens": Problem(
        422,
        "The answer has several tokens",
        "Ask a question whose answer is a single token for this model, for instance a one-digit sum, or measure the "
        "first token of its answer.",
        BadPrompt,
    ),
    "answer_not_a_token": Problem(
        422,
        "The answer does not start at a token boundary",
        "Put a space or '=' between the prompt and its answer.",
        BadPrompt,
    ),
    "no_counterfactual": Problem(
        422, "No counterfactual", "Give the counterfactual prompt yourself, or choose another corruption.", BadPrompt
    ),
    "no_chat_template": Problem(
        422, "No chat template", "Switch the chat template off, or choose a model that was tuned for chats.", BadPrompt
    ),
    "bad_chat_template": Problem(
        422,
        "The chat template cannot be used",
        "Switch the chat template off, or repair the model's chat_template.jinja.",
        UnsupportedModel,
    ),
    "no_prompts": Problem(
        422, "No prompts left", "Widen the operand range, choose more operations, or keep wrong answers.", BadPrompt
    ),
    "none_kept": Problem(
        422,
        "The model answers none of the prompts correctly",
        "Add shots, choose easier operands, or keep the prompts that it answers wrongly (keep_wrong).",
        BadPrompt,
    ),
    "impossible_options": Problem(
        422, "Incompatible options", "Choose other options; see the docs of path patching.", BadArgument
    ),
    "lengths_differ": Problem(
        422,
        "The two prompts differ in length",
        "Use positions 'end', or a counterfactual with as many tokens.",
        BadPrompt,
    ),
    "bad_http": Problem(400, "Malformed HTTP request", "Send it with an ordinary HTTP client or browser."),
    "headers_too_large": Problem(431, "The headers are too large", "Send fewer or shorter headers and cookies."),
    "too_busy": Problem(503, "Too many requests at once", "Wait a few seconds, then try again."),
    "bad_request": Problem(422, "Invalid value", "Correct the value that is named.", BadArgument),
    "bad_file": Problem(422, "The file cannot be used", "Name another file.", BadArgument),
    "not_json": Problem(415, "The body is not JSON", "Send the body as application/json."),
    "not_a_table": Problem(
        415, "The file is neither CSV nor JSON Lines", "Send the file as text/csv or application/jsonl."
    ),
    "body_too_large": Problem(413, "The request is too large", "Send fewer or shorter prompts."),
    "encoded_body": Problem(415, "The body is compressed", "Send it uncompressed, without Content-Encoding."),
    "bad_upload": Problem(
        422, "The file cannot be read", "Upload CSV with the column 'reference', or JSON lines, in UTF-8.", BadPrompt
    ),
    "too_slow": Problem(408, "The request arrived too slowly", "Send it again, over a better connection."),
    "too_many_requests": Problem(429, "Too many requests", "Wait for the time in Retry-After, then try again."),
    "quota_exceeded": Problem(
        429, "Too many unfinished experiments", "Wait until one has ended, or cancel one that is waiting."
    ),
    # Models
    "unknown_model": Problem(
        404,
        "Unknown model",
        "List the models that can run here: arithmoscope models list, or am.list_models() in Python.",
        ModelNotFound,
    ),
    "ambiguous_model": Problem(
        409, "Two models have this name", "Rename your folder: then both can be used.", UnsupportedModel
    ),
    "unsupported_architecture": Problem(
        422,
        "Unsupported architecture",
        "Choose a model of a supported family; arithmoscope models list, or am.list_models(), shows those here.",
        UnsupportedModel,
    ),
    "bad_model_files": Problem(
        422, "The model's files cannot be read", "Fetch or copy the model again.", UnsupportedModel
    ),
    "bad_tokenizer": Problem(
        422,
        "The tokenizer does not match the model",
        "Use the tokenizer that was published with the model.",
        UnsupportedModel,
    ),
    "hub_not_allowed": Problem(
        403,
        "The model hub is switched off",
        "Copy the model's folder into MODELS_DIR, or set ARITHMOSCOPE_ALLOW_HUB=1.",
        ModelNotFound,
    ),
    "hub_unreachable": Problem(
        502,
        "The model hub cannot be reached",
        "Check the network, or copy the model's folder into MODELS_DIR.",
        ModelNotFound,
    ),
    "model_too_large": Problem(
        422, "The model does not fit into memory", "Choose a smaller model or dtype, or another device.", OutOfMemory
    ),
    "not_finite": Problem(
        422, "The model computes NaN or infinity", "Check the weights, or use float32 instead of float16.", NotFinite
    ),
    "out_of_memory": Problem(
        422, "Out of memory", "Use fewer pairs or shorter prompts, or a larger device.", OutOfMemory
    ),
    # Experiments
    "unknown_experiment": Problem(404, "Unknown experiment", "Check the address, or start from the list of analyses."),
    "not_finished": Problem(
        409, "Not finished yet", "Wait for the experiment to finish; its event stream reports when."
    ),
    "no_result": Problem(409, "No result", "Run the experiment again: it ended without a result."),
    "wrong_kind": Problem(
        409, "Wrong kind of experiment", "Use an analysis (path_patching); its result links to everything available."
    ),
    "model_changed": Problem(409, "The model has changed", "Run the analysis again on the model as it is now."),
    "no_components": Problem(
        422,
        "No components to knock out",
        "Name the components yourself, or choose another metric or a larger number.",
        BadComponent,
    ),
    "overlapping_splits": Problem(
        422,
        "The training and evaluation sets overlap",
        "Leave out 'validation' and 'test' to split the set by its operands, or use other operands in them.",
        BadPrompt,
    ),
    "training_broke": Problem(
        422,
        "The loss is not finite",
        "Choose a lower learning rate, a longer warm-up or a smaller gradient norm (clip); good weights are kept.",
        NotFinite,
    ),
    "metric_not_computed": Problem(409, "Metric not computed", "Run the analysis again with this metric.", BadArgument),
    "still_running": Problem(409, "Still running", "Cancel the experiment first."),
    "not_restorable": Problem(
        409, "The experiment cannot be restored", "Submit the same experiment again; it will be recomputed."
    ),
    "not_retryable": Problem(
        409, "The experiment cannot be retried", "Only a failed or cancelled experiment can be run again."
    ),
    "attention_not_stored": Problem(409, "Attention not available", "Run the analysis again, with shorter prompts."),
    "out_of_range": Problem(
        404, "No such layer or prompt", "Stay within the layers and prompts of the result.", BadArgument
    ),
    "worker_lost": Problem(500, "The worker was lost", "Read the worker's log, then retry with fewer pairs."),
    "no_worker": Problem(503, "No worker", "Start one: arithmoscope worker."),
    "store_unavailable": Problem(503, "The store cannot be written", "Free disk space, then try again."),
    "store_full": Problem(
        507, "The store is full", "Delete analyses that you no longer need, or raise ARITHMOSCOPE_STORE_BUDGET."
    ),
    "forbidden": Problem(403, "Not allowed", "Open the page from the address that arithmoscope serve printed."),
    "token_required": Problem(
        401,
        "The token is missing or wrong",
        "Open the link with the token that arithmoscope serve printed, or send 'Authorization: Bearer TOKEN'.",
    ),
    "method_not_allowed": Problem(405, "Method not allowed", "See /api/docs for the methods of each address."),
    "not_found": Problem(404, "Not found", "See /api/docs for the addresses that exist."),
    "internal": Problem(500, "Internal error", "Read the server's log and report it."),
    # Starting the server
    "data_dir_in_use": Problem(
        409, "The data folder is in use", "Stop the other arithmoscope serve, or choose another --data-dir."
    ),
    "port_in_use": Problem(409, "The port is in use", "Choose another with --port or ARITHMOSCOPE_PORT."),
    "bad_setting": Problem(422, "A setting cannot be used", "Correct the value that is named.", BadArgument),
}


class ProblemDetails(BaseModel):
    """RFC 9457 problem JSON, with the way out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    way_out: str

    def refusal(self) -> Refusal:
        """The refusal that this document describes."""
        code: Any = self.type.rpartition(":")[2]
        return Refusal(code, self.detail, self.way_out)
