"""Makes the inputs of the benchmark: English-like text and TPC-H tables. The same bytes on every machine."""

import random
import subprocess
from itertools import accumulate
from pathlib import Path

TEXT_BYTES = 160_000_000
VOCABULARY = 60_000
COMMON = """the of and to in a is that it was for on are as with his they at be this have from or one had by word but not what
all were we when your can said there use an each which she do how their if will up other about out many then them these so
some her would make like him into time has look two more write go see number no way could people my than first water been
call who its now find long down day did get come made may part""".split()


def prepare(folder: Path, scale: int, bench: Path) -> None:
    """Generates what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    if not text.exists():
        print(f"generating {text.name} ({TEXT_BYTES // 1_000_000} MB)", flush=True)
        whole(text, write_text)
    if not all((folder / f"{table}.csv").exists() for table in ("orders", "lineitem")):
        print(f"generating TPC-H tables (scale factor {scale})", flush=True)
        tool = bench / "venv" / "bin" / "tpchgen-cli"
        options = ["csv", "-s", str(scale), "-T", "orders,lineitem", "-o", str(folder), "--overwrite"]
        subprocess.run([tool, *options], check=True)


def whole(path: Path, write) -> None:
    """Runs `write(file)` and lets the file appear only when it is complete."""
    unfinished = path.with_suffix(".unfinished")
    with open(unfinished, "w", encoding="ascii", newline="\n") as file:
        write(file)
    unfinished.rename(path)


def write_text(file) -> None:
    """Words by Zipf's law, in sentences, 8 to 16 to a line, an empty line between paragraphs."""
    source = random.Random(20170823)
    words = vocabulary(source)
    weights = list(accumulate(1.0 / (rank + 2.7) ** 1.07 for rank in range(len(words))))
    written = 0
    while written < TEXT_BYTES:
        picked = source.choices(words, cum_weights=weights, k=200_000)
        chunk = "".join(lines(picked, source))
        file.write(chunk)
        written += len(chunk)


def vocabulary(source: random.Random) -> list[str]:
    """Distinct made-up words, the short ones first, behind the most common English ones."""
    onsets = ["b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl", "ch", "sh", "th", ""]
    vowels = ["a", "e", "i", "o", "u", "ea", "ou", "ai"]
    codas = ["", "n", "r", "s", "t", "l", "nd", "st", "ng", "ck", "d", "m"]
    found = dict.fromkeys(COMMON)
    while len(found) < VOCABULARY:
        syllables = 1 + min(3, len(found) * 4 // VOCABULARY) if source.random() < 0.8 else source.randint(1, 4)
        found["".join(source.choice(onsets) + source.choice(vowels) + source.choice(codas) for _ in range(syllables))] = None
    return list(found)


def lines(words: list[str], source: random.Random):
    """Cuts words into lines with capitals and punctuation."""
    start, capital = 0, True
    while start < len(words):
        line = words[start : start + source.randint(8, 16)]
        start += len(line)
        if capital:
            line[0] = line[0].capitalize()
        capital = source.random() < 0.4
        if len(line) > 5:
            line[4] += ","
        yield " ".join(line) + (".\n\n" if capital and source.random() < 0.3 else ".\n" if capital else "\n")
