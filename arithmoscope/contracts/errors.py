"""What a user sees when something is refused: one table of problems, each with its way out.

A refusal says what, why, and the way out. It is raised anywhere and turned into an HTTP status or an exit code
at the two doors only.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of refusal: its HTTP status, its title, and the way out unless the refusal knows a better one."""

    status: int
    title: str
    way_out: str


PROBLEMS: dict[str, Problem] = {
    # What people type
    "bad_component": Problem(422, "Not a component", "Write a head as L14H2 and an MLP as MLP19, both from 0."),
    "no_arithmetic": Problem(
        422, "No arithmetic to read", "Give the answer yourself, or write a sum such as '3 + 5 ='."
    ),
    "empty_prompt": Problem(422, "Empty prompt", "Type a sum such as '3 + 5 ='."),
    "prompt_too_long": Problem(413, "Prompt too long", "Shorten the prompt or use fewer shots."),
    "answer_several_tokens": Problem(
        422,
        "The answer is several tokens",
        "Ask a question whose answer is a single token for this model, such as a one-digit sum.",
    ),
    "answer_not_a_token": Problem(
        422, "The answer does not begin at a token", "Put a space or '=' between the prompt and its answer."
    ),
    "no_counterfactual": Problem(
        422, "No counterfactual", "Give the counterfactual prompt yourself, or choose another corruption."
    ),
    "no_chat_template": Problem(
        422, "No chat template", "Switch the chat template off, or choose a model that was tuned for chats."
    ),
    "bad_chat_template": Problem(
        422,
        "The chat template cannot be used",
        "Switch the chat template off, or mend the model's chat_template.jinja.",
    ),
    "no_prompts": Problem(
        422, "No prompts left", "Widen the operand range, choose more operations, or keep wrong answers."
    ),
    "none_kept": Problem(
        422,
        "The model answers none of the prompts rightly",
        "Add shots, choose easier operands, or keep the wrongly answered prompts (keep_wrong).",
    ),
    "impossible_options": Problem(
        422, "These options do not go together", "Choose other options; see the docs of path patching."
    ),
    "lengths_differ": Problem(
        422,
        "The two prompts differ in length",
        "Use positions 'end', or a counterfactual with as many tokens.",
    ),
    "bad_http": Problem(400, "The request is no proper HTTP", "Send it with an ordinary HTTP client or browser."),
    "headers_too_large": Problem(431, "The headers are too large", "Send fewer or shorter headers and cookies."),
    "too_busy": Problem(503, "Too many at once", "Wait a few seconds, then try again."),
    "bad_request": Problem(422, "The request cannot be read", "See /api/docs for what this call takes."),
    "not_json": Problem(415, "Not JSON", "Send the body as application/json."),
    "not_a_table": Problem(415, "Not CSV or JSON lines", "Send the file as text/csv or application/jsonl."),
    "body_too_large": Problem(413, "The request is too large", "Send fewer or shorter prompts."),
    "encoded_body": Problem(415, "The body is compressed", "Send it as it is, without Content-Encoding."),
    "bad_upload": Problem(
        422, "The file cannot be read", "Upload CSV with the column 'reference', or JSON lines, in UTF-8."
    ),
    "too_slow": Problem(408, "The request came too slowly", "Send it again, over a better connection."),
    "too_many_requests": Problem(429, "Too many requests", "Wait as long as Retry-After says, then go on."),
    "quota_exceeded": Problem(
        429, "Too many unfinished experiments", "Wait until some have ended, or cancel some that wait."
    ),
    # Models
    "unknown_model": Problem(404, "Unknown model", "See the models that can run here: arithmoscope models list."),
    "unsupported_architecture": Problem(
        422, "Unsupported architecture", "Choose a model of a supported family: arithmoscope models list."
    ),
    "bad_model_files": Problem(422, "The model's files cannot be read", "Fetch or copy the model again."),
    "bad_tokenizer": Problem(422, "The tokenizer does not fit", "Use the tokenizer that was published with the model."),
    "hub_not_allowed": Problem(
        403,
        "The model hub is switched off",
        "Copy the model's folder into MODELS_DIR, or set ARITHMOSCOPE_ALLOW_HUB=1.",
    ),
    "hub_unreachable": Problem(
        502, "The model hub cannot be reached", "Check the network, or copy the model's folder into MODELS_DIR."
    ),
    "model_too_large": Problem(422, "The model does not fit", "Choose a smaller model or dtype, or another device."),
    "not_finite": Problem(
        422, "The model computes no finite numbers", "Check the weights, or use float32 instead of float16."
    ),
    "out_of_memory": Problem(422, "Out of memory", "Use fewer pairs or shorter prompts, or a larger device."),
    # Experiments
    "unknown_experiment": Problem(404, "Unknown experiment", "Check the address, or start from the list of analyses."),
    "not_finished": Problem(409, "Not finished yet", "Wait for the experiment to finish; its events tell when."),
    "no_result": Problem(409, "No result", "Run the experiment again: it ended without a result."),
    "wrong_kind": Problem(
        409, "Another kind of experiment", "Ask it of an analysis (path_patching); its result links to what it has."
    ),
    "model_changed": Problem(409, "The model has changed since", "Run the analysis again on the model as it is now."),
    "no_components": Problem(
        422, "No components to take out", "Name the components yourself, or choose another metric or more of them."
    ),
    "overlapping_splits": Problem(
        422,
        "Questions are trained on and judged by at once",
        "Leave 'validation' and 'test' out to have the set split by its operands, or ask about other operands there.",
    ),
    "training_broke": Problem(
        422,
        "The loss became no number",
        "Choose a lower learning rate, a longer warm-up or shorter gradients (clip); the last good weights are kept.",
    ),
    "metric_not_computed": Problem(409, "Metric not computed", "Run the analysis again with this metric."),
    "still_running": Problem(409, "Still running", "Cancel the experiment first."),
    "not_restorable": Problem(
        409, "It cannot be brought back", "Ask the same question again: it will be computed anew."
    ),
    "not_retryable": Problem(409, "Nothing to retry", "Only a failed or cancelled experiment can be run again."),
    "attention_not_stored": Problem(
        409, "This attention cannot be had", "Run the analysis again, with shorter prompts."
    ),
    "out_of_range": Problem(404, "No such layer or prompt", "Stay within the layers and prompts of the result."),
    "worker_lost": Problem(500, "The worker was lost", "Look at the worker's log, then retry with fewer pairs."),
    "no_worker": Problem(503, "No worker", "Start one: arithmoscope worker."),
    "store_unavailable": Problem(503, "The store cannot be written", "Free disk space, then try again."),
    "store_full": Problem(
        507, "The store is full", "Delete analyses that are no longer wanted, or raise ARITHMOSCOPE_STORE_BUDGET."
    ),
    "forbidden": Problem(403, "Not allowed", "Open the page from the address that arithmoscope serve printed."),
    "token_required": Problem(
        401,
        "The token is missing or wrong",
        "Open the link with the token that arithmoscope serve printed, or send 'Authorization: Bearer TOKEN'.",
    ),
    "method_not_allowed": Problem(405, "Not possible at this address", "See /api/docs for what each address takes."),
    "not_found": Problem(404, "Nothing here", "See /api/docs for the addresses that exist."),
    "internal": Problem(500, "Something broke inside", "Look at the server's log and report it."),
    # The front door
    "data_dir_in_use": Problem(
        409, "The data folder is in use", "Stop the other arithmoscope serve, or choose another --data-dir."
    ),
    "port_in_use": Problem(409, "The port is in use", "Choose another with --port or ARITHMOSCOPE_PORT."),
    "bad_setting": Problem(422, "A setting cannot be used", "See arithmoscope --help."),
}


class Refusal(Exception):
    """A request that cannot be granted: ``code`` is a row of `PROBLEMS`, ``detail`` one sentence about this case."""

    def __init__(self, code: str, detail: str, way_out: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.problem = PROBLEMS[code]
        self.way_out = way_out or self.problem.way_out

    def __str__(self) -> str:
        return f"{self.problem.title}: {self.detail} {self.way_out}"

    # Exceptions are pickled by multiprocessing with `args` alone; ours carries three.
    def __reduce__(self) -> tuple[type[Refusal], tuple[str, str, str]]:
        return type(self), (self.code, self.detail, self.way_out)

    def details(self) -> ProblemDetails:
        """The refusal as it goes over the wire."""
        return ProblemDetails(
            type=f"urn:arithmoscope:problem:{self.code}",
            title=self.problem.title,
            status=self.problem.status,
            detail=self.detail,
            way_out=self.way_out,
        )


class ProblemDetails(BaseModel):
    """RFC 9457 problem JSON, with the way out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    way_out: str
