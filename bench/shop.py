"""Makes the inputs of passes.py: orders in two files, people, cities, visits, a text. The same bytes on every machine."""

import random
from pathlib import Path

import data
from data import whole

PEOPLE = 20_000
CITIES = 300


def prepare(folder: Path, rows: int) -> None:
    """Generates what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "orders-1.csv": lambda file: orders(file, rows // 2, 1),
        "orders-2.csv": lambda file: orders(file, rows - rows // 2, 2),
        "people.csv": people,
        "cities.csv": cities,
        "visits.tsv": lambda file: visits(file, rows),
        "few.tsv": lambda file: visits(file, rows // 20),
        "text.txt": lambda file: text(file, rows),
    }
    for name, write in files.items():
        if not (folder / name).exists():
            print(f"generating {name}", flush=True)
            whole(folder / name, write)


def person(source: random.Random) -> str:
    """A few people do much."""
    return f"p{int(PEOPLE * source.random() ** 3)}"


def orders(file, rows: int, seed: int) -> None:
    source = random.Random(seed)
    file.write("id,person,product,quantity,day,note\n")
    for row in range(rows):
        day = f"2026-{source.randint(1, 12):02}-{source.randint(1, 28):02}"
        note = f"left at door {source.randint(1, 99)}, rang {source.randint(1, 9)} times".replace(",", ";")
        file.write(f"{seed}{row},{person(source)},thing-{source.randint(1, 5000)},{source.randint(1, 10)},{day},{note}\n")


def people(file) -> None:
    source = random.Random(3)
    file.write("person,city,age\n")
    for number in range(PEOPLE):
        file.write(f"p{number},city-{source.randint(1, CITIES)},{source.randint(18, 90)}\n")


def cities(file) -> None:
    file.write("city,country\n")
    for number in range(1, CITIES + 1):
        file.write(f"city-{number},country-{number % 17}\n")


def visits(file, rows: int) -> None:
    source = random.Random(4)
    for _ in range(rows):
        status = source.choice(["200"] * 18 + ["404", "500"])
        file.write(f"{person(source)}\t/page/{int(3000 * source.random() ** 2)}\t{status}\n")


def text(file, rows: int) -> None:
    source = random.Random(5)
    words = data.vocabulary(source)
    picked = source.choices(words, weights=[1.0 / (rank + 2.7) ** 1.07 for rank in range(len(words))], k=rows * 8)
    file.write("".join(data.lines(picked, source)))
