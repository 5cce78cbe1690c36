"""The patient of a recording, by a pattern of its path (``--patient-from``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from heartbeat_core.errors import ConfigError, InputError
from heartbeat_core.recordings.recording import Recording


@dataclass(frozen=True, slots=True)
class PatientPattern:
    r"""A regular expression, searched in the path below the input.

    Its first group is the patient. Each further group with a name becomes a kept column of that name.

    Examples
    --------
    >>> pattern = PatientPattern.parse(r"(\d+)_(?P<site>AV|MV|PV|TV)")
    >>> [found] = pattern.apply([Recording("file:///c/13918_AV.wav", "13918_AV.wav")])
    >>> found.patient_id, pattern.names, found.kept
    ('13918', ('site',), ('AV',))
    """

    expression: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> PatientPattern:
        """Compile an expression.

        Parameters
        ----------
        text : str
            In the syntax of Python's ``re``.

        Raises
        ------
        ConfigError
            It is none, or has no group.
        """
        try:
            expression = re.compile(text)
        except re.error as error:
            raise ConfigError(f"--patient-from {text}: not a regular expression: {error}") from None
        if not expression.groups:
            raise ConfigError(f"--patient-from {text}: put the patient in a group: '(…)'")
        return cls(expression)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the groups behind the first."""
        return tuple(name for name, number in self.expression.groupindex.items() if number > 1)

    def apply(self, recordings: Iterable[Recording]) -> Iterator[Recording]:
        """Yield recordings with their patients and the cells of their groups.

        Parameters
        ----------
        recordings : Iterable[Recording]
            One whose path does not match gets no patient, whatever it had; its cells of the groups are None.

        Raises
        ------
        InputError
            At the end: there are recordings, and the path of none of them matches.
        """
        n_recordings = n_found = 0
        for recording in recordings:
            found = self.expression.search(recording.relative_path)
            patient = found.group(1) if found else None
            cells = tuple((found.group(name) or None) if found else None for name in self.names)
            n_recordings += 1
            n_found += bool(patient)
            yield replace(recording, patient_id=patient or None, kept=(*recording.kept, *cells))
        if n_recordings and not n_found:
            raise InputError(
                f"--patient-from {self.expression.pattern}: it is searched in the path below the input, and found in "
                f"none of {n_recordings}"
            )
