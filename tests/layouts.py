"""Small made-up copies of published databases, file for file as they are published, with recordings that decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from tests.helpers import heart_bytes

DURATION_S = 1.5

CIRCOR_KEYS = (
    *("Age", "Sex", "Height", "Weight", "Pregnancy status", "Murmur", "Murmur locations", "Most audible location"),
    *("Outcome", "Campaign", "Additional ID"),
)
CIRCOR_PATIENTS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "101": (
        ("AV", "MV"),
        ("Child", "Female", "98.0", "17.66", "False", "Absent", "nan", "nan", "Normal", "CC2014", "nan"),
    ),
    "102": (("PV",), ("nan", "Male", "nan", "nan", "False", "Absent", "nan", "nan", "Abnormal", "CC2014", "nan")),
    "103": (("TV",), ("Infant", "Male", "60", "5.5", "False", "Unknown", "nan", "nan", "Abnormal", "CC2014", "nan")),
    "104": (
        ("AV", "TV_1", "TV_2"),
        ("Child", "Male", "120.0", "24.0", "False", "Present", "MV+TV", "TV", "Abnormal", "CC2014", "205"),
    ),
    # The same person, a year later.
    "205": (
        ("MV", "Phc"),
        ("Child", "Male", "126.0", "26.0", "False", "Present", "MV+TV", "TV", "Abnormal", "CC2015", "104"),
    ),
}
"""By number, the recordings (a site and its counter) and the values of the keys."""

CINC_CLASSES = {
    "a": {"a0001": 1, "a0002": -1, "a0003": 1},
    "e": {"e00001": -1, "e00002": 1},
}

PASCAL_A = (
    ("artifact__201012172012", "artifact__201012172012", "artifact,"),
    ("extrahls__201104021355", "extrahls__201104021355", "extrahls,"),
    ("murmur__201104021355", "murmur__201104021355", "murmur,"),
    ("normal__201102081321", "normal__201102081321", "normal,"),
    ("__201101051105", "Aunlabelledtest__201101051105", ","),
)
PASCAL_B = (
    ("Btraining_extrastole_127_1306764300147_C2", "extrastole__127_1306764300147_C2", "extrastole,"),
    (
        "Btraining_murmur_Btraining_noisymurmur_162_1307101835989_B_1",
        "murmur_noisymurmur_162_1307101835989_B_1",
        "murmur,noisymurmur",
    ),
    ("Btraining_normal_105_1305033453095_A", "normal__105_1305033453095_A", "normal,"),
    (
        "Btraining_normal_Btraining_noisynormal_105_1305033453095_C",
        "normal_noisynormal_105_1305033453095_C",
        "normal,noisynormal",
    ),
    ("Bunlabelledtest_101_1305030823364_D", "Bunlabelledtest__101_1305030823364_D", ","),
)
"""The name in the table, the name of the file, and the rest of the row."""


def write_circor(folder: Path) -> Path:
    """Write five patients with nine recordings; 104 and 205 are one person."""
    data = folder / "training_data"
    data.mkdir(parents=True)
    table = [",".join(["Patient ID", "Recording locations:", *CIRCOR_KEYS])]
    for number, (places, values) in CIRCOR_PATIENTS.items():
        lines = [f"{number} {len(places)} 4000"]
        for place in places:
            stem = f"{number}_{place}"
            lines.append(f"{place.partition('_')[0]} {stem}.hea {stem}.wav {stem}.tsv")
            (data / f"{stem}.wav").write_bytes(_recording(int(number), 4_000))
            (data / f"{stem}.hea").write_text(_header(stem, 4_000, place.partition("_")[0]))
            # The second row has no length, and the last two overlap.
            (data / f"{stem}.tsv").write_text("0\t0.5\t0\n0.5\t0.5\t1\n0.5\t0.6\t1\n0.6\t0.8\t2\n0.75\t0.9\t3\n")
        lines += [f"#{key}: {value}" for key, value in zip(CIRCOR_KEYS, values, strict=True)]
        (data / f"{number}.txt").write_text("\n".join(lines) + "\n")
        sites = "+".join(place.partition("_")[0] for place in places)
        table.append(",".join([number, sites, *values]))
    (folder / "training_data.csv").write_text("\n".join(table) + "\n")
    return folder


def write_cinc2016(folder: Path) -> Path:
    """Write three recordings of database a, without the ECG that their headers name, and two of database e."""
    for letter, classes in CINC_CLASSES.items():
        data = folder / f"training-{letter}"
        data.mkdir(parents=True)
        for number, (name, value) in enumerate(classes.items()):
            (data / f"{name}.wav").write_bytes(_recording(number, 2_000))
            word = "Abnormal" if value == 1 else "Normal"
            ecg = f"{name}.dat 16 1000 16 0 0 367 0 ECG\n" if letter == "a" else ""
            (data / f"{name}.hea").write_text(_header(name, 2_000, "PCG", ecg) + f"# {word}\n")
        lines = [f"{name},{value}" for name, value in classes.items()]
        (data / "REFERENCE.csv").write_text("\n".join(lines) + "\n")
        (data / "RECORDS").write_text("\n".join(classes) + "\n")
    return folder


def write_pascal(folder: Path) -> Path:
    """Write five recordings of each set, and some timings."""
    for letter, rows in (("a", PASCAL_A), ("b", PASCAL_B)):
        data = folder / f"set_{letter}"
        data.mkdir(parents=True)
        lines = ["dataset,fname,label,sublabel"]
        for number, (name, stem, rest) in enumerate(rows):
            (data / f"{stem}.wav").write_bytes(_recording(number, 4_000))
            lines.append(f"{letter},set_{letter}/{name}.wav,{rest}")
        (folder / f"set_{letter}.csv").write_text("\n".join(lines) + "\n")
    (folder / "set_a_timing.csv").write_text("fname,cycle,sound,location\nset_a/normal__201102081321.wav,1,S1,1002\n")
    return folder


def _header(stem: str, rate_hz: int, description: str, more: str = "") -> str:
    n_samples = round(DURATION_S * rate_hz)
    first = f"{stem} {1 + bool(more)} {rate_hz} {n_samples}\n"
    return f"{first}{stem}.wav 16+44 1 16 0 0 0 0 {description}\n{more}"


@lru_cache
def _recording(seed: int, rate_hz: int) -> bytes:
    return heart_bytes("normal", seed, DURATION_S, rate_hz)
