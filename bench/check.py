"""Says what a result is, whatever files it was written to: so that all competitors are known to have done the same work."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """Rows, bytes, and a digest that ignores the rows' order unless the order is the point."""

    rows: int
    digest: str

    def __str__(self) -> str:
        return f"{self.rows} rows, digest {self.digest[:12]}"


def result(path: Path, ordered: bool) -> Result:
    """Of one file, or of a directory's data files in the order of their names."""
    digest = hashlib.sha256()
    rows = total = 0
    for file in data_files(path):
        with open(file, "rb") as lines:
            for line in lines:
                rows += 1
                if ordered:
                    digest.update(line)
                else:
                    total += int.from_bytes(hashlib.blake2b(line, digest_size=16).digest(), "little")
    return Result(rows, digest.hexdigest() if ordered else f"{total % 2**128:032x}")


def data_files(path: Path) -> list[Path]:
    """Those whose names begin with neither a dot nor an underscore."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.iterdir() if file.name[0] not in "._")
    if not found:
        raise FileNotFoundError(f"no result in {path}")
    return found
