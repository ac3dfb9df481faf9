"""What a number or a name in a configuration must be: annotated types, each with the words an error says.

Owns the ranges. Does not own any setting.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, description="seconds > 0")]
Count = Annotated[int, Meta(ge=1, description="a whole number >= 1")]
Few = Annotated[int, Meta(ge=1, le=8, description="a whole number, 1 to 8")]
Bytes = Annotated[int, Meta(ge=1024, description="bytes >= 1024")]
Port = Annotated[int, Meta(ge=0, le=65535, description="a port, 0 to 65535")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Positive = Annotated[float, Meta(gt=0, description="a number > 0")]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}\Z", description="a name in lower case letters")]
LayerName = Literal["L0", "L1", "L2", "L3", "L4", "L5", "L6", "L7"]
LevelName = Literal["none", "low", "medium", "high", "critical"]
