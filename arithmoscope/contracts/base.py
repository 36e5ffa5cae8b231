"""Base classes of everything that crosses a process boundary: frozen and closed."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from arithmoscope.contracts.argument_words import scalar
from arithmoscope.contracts.arguments import refusal_of


class Wire(BaseModel):
    """Immutable model; unknown fields are an error rather than a silent loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PublicWire(Wire):
    """A model that is also constructed in Python: a wrong field raises Refusal (``bad_request``).

    Validation of data (``model_validate``, or as a field of another model) raises pydantic's error, as for any model.
    """

    if not TYPE_CHECKING:  # type checkers read the fields

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**{name: scalar(value) for name, value in data.items()})
            except ValidationError as error:
                raise refusal_of(error) from None

        # Otherwise pydantic calls this constructor for fields of other models, too.
        __init__.__pydantic_base_init__ = True
