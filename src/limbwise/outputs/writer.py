"""What all writers of results have in common."""

from abc import ABC, abstractmethod
from typing import Any, Self

from .records import Result


class Writer(ABC):
    """Takes results one by one; leaving its `with` finishes what it writes."""

    @abstractmethod
    def add(self, result: Result) -> None:
        """Writes one frame; BadInput if it cannot be written."""

    def close(self) -> None:  # noqa: B027 - a folder has nothing left to finish
        """Finishes the file; closing twice does no harm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
