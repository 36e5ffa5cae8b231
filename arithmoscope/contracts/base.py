"""The base of everything that crosses a process: frozen and closed."""

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """Immutable, and unknown fields are an error rather than a silent loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")
