"""What a format of files is. Adding one is adding a module to this package with an instance of ``Format``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from patent_embed.data.archives import Budget
from patent_embed.data.raw import RawRecord
from patent_embed.registry import Registry

HEAD_BYTES = 4096  # so much of a file's beginning is looked at to tell its format


class Format(ABC):
    """How the records of one kind of file are found.

    gzip and zip are not its business: ``patent_embed.data.reading`` hands it what is inside.

    Attributes:
        name: what inspect and the documentation call it.
        order: formats are asked by this number, then by name. Those that ask for more come first.
        suffixes: of names, in lower case with the dot, that mean this format where no format knows the content.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    suffixes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, name: str, head: bytes) -> bool:
        """Whether the content is of this format.

        Args:
            name: of the file in lower case, without ``.gz``.
            head: its first ``HEAD_BYTES``, or all of it where it is shorter; decompressed, in whatever encoding.
        """

    @abstractmethod
    def read(self, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        """The records of a file, in its order, one by one.

        A record that cannot be read is one with a reason, and reading goes on after it where that is possible. What
        the file itself raises (OSError, EOFError, zlib.error) may pass through: the caller makes one reject of it.

        Args:
            file: seekable, at its beginning. The caller closes it.
            source: what ``RawRecord.source`` begins with; the place inside the file is appended.
        """

    def read_within(self, file: BinaryIO, source: str, budget: Budget) -> Iterator[RawRecord]:
        """``read`` for a format that is compressed itself: what it unpacks is part of ``budget``, that of the file on
        the disk with all archives in it. Others have nothing to unpack.

        Raises:
            TooLarge: at a record, where there is far more inside than a file of its size has.
        """
        return self.read(file, source)


FORMATS = Registry("patent_embed.data.formats", Format, "the format")  # type: ignore[type-abstract]
