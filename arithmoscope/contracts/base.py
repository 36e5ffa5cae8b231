"""Base class of everything that crosses a process boundary: frozen and closed."""

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """Immutable model; unknown fields are an error rather than a silent loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")
