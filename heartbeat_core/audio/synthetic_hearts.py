"""The sounds of a synthetic heart as they reach the chest: S1, S2, extra sounds and murmurs.

Sources of the figures:

* S1 as a few damped components: D. Chen, L.-G. Durand, H. C. Lee, "Time-frequency analysis of the first heart sound.
  Part 1", Med. Biol. Eng. Comput. 35 (1997), 306-310. Most of its energy is between 10 and 140 Hz, with peaks near 25
  to 45 and 60 to 110 Hz: P. J. Arnott, G. W. Pfeiffer, M. E. Tavel, "Spectral analysis of heart sounds", J. Biomed.
  Eng. 6 (1984), 121-128. The mitral component leads the tricuspid one by 20 to 30 ms.
* S2 as two chirps whose frequency falls: J. Xu, L.-G. Durand, P. Pibarot, "Nonlinear transient chirp signal modeling of
  the aortic and pulmonary components of the second heart sound", IEEE Trans. Biomed. Eng. 47 (2000), 1328-1335. The
  split of 0 to 60 ms widens as one breathes in.
* Durations, on average 122 ms of S1 and 92 ms of S2: S. E. Schmidt et al., "Segmentation of heart sound recordings by
  a duration-dependent hidden Markov model", Physiol. Meas. 31 (2010), 513-529. Ours stay above 5 % of their peak for
  about 100 and 75 ms.
* Extra sounds and the shapes, phases and pitches of murmurs: M. E. Tavel, "Clinical Phonocardiography and External
  Pulse Recording" (1985); A. Leatham, "Auscultation of the heart and phonocardiography" (1975).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from heartbeat_core.arrays import Values
from heartbeat_core.audio.synthetic_beats import Beat
from heartbeat_core.audio.synthetic_waves import Transient, add, add_envelope, band_noise, coloured_noise

EXTRA_SOUNDS = ("s3", "s4", "ejection click", "mid-systolic click", "split s1", "split s2")


@dataclass(frozen=True, slots=True)
class Murmur:
    """A kind of murmur.

    Attributes
    ----------
    phase : str
        ``systole`` or ``diastole``.
    band_hz : tuple of float
        Where most of its energy lies.
    span : tuple of float
        Where it begins and ends, as shares of the phase.
    shape : Callable
        The envelope, from 0 to 1, at places [n] from 0 to 1 of the span.
    share : float
        How frequent it is among the murmurs.
    """

    phase: str
    band_hz: tuple[float, float]
    span: tuple[float, float]
    shape: Callable[[Values], Values]
    share: float


def _diamond(place: Values) -> Values:
    return np.sin(np.pi * place) ** 1.5


def _plateau(place: Values) -> Values:
    return np.clip(np.minimum(place, 1 - place) / 0.12, 0, 1)


def _crescendo(place: Values) -> Values:
    return place * np.clip((1 - place) / 0.1, 0, 1)


def _decrescendo(place: Values) -> Values:
    return np.clip(place / 0.08, 0, 1) * (1 - place) ** 1.5


def _rumble(place: Values) -> Values:
    """Return a rumble that fades, and rises again as the atrium contracts."""
    return np.clip(place / 0.15, 0, 1) * (0.6 * (1 - place) + 0.9 * place**4) * np.clip((1 - place) / 0.04, 0, 1)


MURMURS = {
    "aortic stenosis": Murmur("systole", (100, 400), (0.12, 0.95), _diamond, 0.4),
    "mitral regurgitation": Murmur("systole", (150, 600), (0.0, 1.0), _plateau, 0.3),
    "mitral prolapse": Murmur("systole", (150, 500), (0.45, 1.0), _crescendo, 0.1),
    "aortic regurgitation": Murmur("diastole", (200, 500), (0.05, 0.8), _decrescendo, 0.12),
    "mitral stenosis": Murmur("diastole", (40, 150), (0.2, 1.0), _rumble, 0.08),
}
_LOUDNESS = (0.06, 0.45)
"""RMS of a murmur at its loudest over the amplitude of S1: from a soft one of grade 2 to a loud one of grade 4 or 5."""


_SHARP_S = 0.01
"""Components that rise in this time or less are of valves, not of muscle; noise up to several 100 Hz goes with them."""


@dataclass(frozen=True, slots=True)
class Valves:
    """How the valves of one heart sound.

    Attributes
    ----------
    s1, aortic, pulmonary : Sequence[Transient]
        The components of S1, A2 and P2.
    split_s : tuple of float
        From A2 to P2 with all air out, and how much longer it is with all air in.
    roughness : float
        RMS of the noise that goes with the valves, over their envelope.
    slope : float
        The power of this noise falls with ``frequency ** -slope``.
    """

    s1: Sequence[Transient]
    aortic: Sequence[Transient]
    pulmonary: Sequence[Transient]
    split_s: tuple[float, float]
    roughness: float
    slope: float


def draw_valves(rng: np.random.Generator, extra: str | None = None) -> Valves:
    """Draw the valves of one heart.

    Parameters
    ----------
    rng : numpy.random.Generator
        The source of randomness.
    extra : str | None
        One of ``EXTRA_SOUNDS``, or None. With ``split s1`` or ``split s2`` the valves close far apart.
    """
    wide_s1, wide_s2 = extra == "split s1", extra == "split s2"
    mitral_hz, tricuspid_hz, muscle_hz = rng.uniform(60, 110), rng.uniform(60, 100), rng.uniform(25, 45)
    tricuspid_s = rng.uniform(0.05, 0.07) if wide_s1 else rng.uniform(0.02, 0.03)
    tricuspid = rng.uniform(0.6, 0.9) if wide_s1 else rng.uniform(0.35, 0.6)
    s2 = rng.uniform(0.6, 1.2)
    pulmonary = rng.uniform(0.7, 0.9) if wide_s2 else rng.uniform(0.3, 0.6)
    a2_hz, p2_hz = (rng.uniform(100, 150), rng.uniform(50, 80)), (rng.uniform(80, 120), rng.uniform(40, 65))
    low_hz = rng.uniform(30, 50)
    return Valves(
        s1=(
            Transient(muscle_hz, muscle_hz, 0.02, 0.034, rng.uniform(0.7, 1.6)),
            Transient(0.8 * mitral_hz, mitral_hz, 0.006, rng.uniform(0.016, 0.026), 1.4, 0.005),
            Transient(0.9 * tricuspid_hz, tricuspid_hz, 0.006, rng.uniform(0.016, 0.024), 1.4 * tricuspid, tricuspid_s),
        ),
        aortic=(
            Transient(*a2_hz, 0.005, rng.uniform(0.018, 0.026), 1.4 * s2),
            Transient(low_hz, low_hz, 0.012, 0.02, rng.uniform(0.3, 0.7) * s2),
        ),
        pulmonary=(Transient(*p2_hz, 0.006, rng.uniform(0.018, 0.026), 1.4 * s2 * pulmonary),),
        split_s=(rng.uniform(0.05, 0.06), 0.02) if wide_s2 else (rng.uniform(0, 0.02), rng.uniform(0, 0.04)),
        roughness=float(np.exp(rng.uniform(*np.log((0.1, 0.3))))),
        slope=rng.uniform(2, 3.5),
    )


def valve_sounds(
    valves: Valves, beats: Sequence[Beat], rate_hz: int, n_samples: int, rng: np.random.Generator
) -> Values:
    """Make S1 and S2 of all beats; loudness, onset and noise of the components vary from beat to beat.

    Parameters
    ----------
    valves : Valves
    beats : Sequence[Beat]
    rate_hz : int
        Sample rate.
    n_samples : int
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    ndarray, [n_samples] float64
    """
    signal, envelope = np.zeros(n_samples), np.zeros(n_samples)
    for beat in beats:
        pulmonary_s = beat.s2_s + valves.split_s[0] + valves.split_s[1] * beat.inspiration
        for sounds, onset_s, loudness in (
            (valves.s1, beat.s1_s, beat.s1_gain),
            (valves.aortic, beat.s2_s, beat.s2_gain),
            (valves.pulmonary, pulmonary_s, beat.s2_gain),
        ):
            for sound in sounds:
                gain, at_s = loudness * rng.uniform(0.8, 1.2), onset_s + rng.uniform(-0.002, 0.002)
                add(signal, rate_hz, at_s, sound, gain)
                if sound.attack_s <= _SHARP_S:
                    # Its noise dies sooner: the higher the frequency, the stronger the damping.
                    add_envelope(envelope, rate_hz, at_s, replace(sound, decay_s=sound.decay_s / 2), 2 * gain)
    return signal + valves.roughness * envelope * coloured_noise(valves.slope, 80, rate_hz, n_samples, rng)


def extra_sounds(kind: str, beats: Sequence[Beat], rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Make an extra sound in all beats; zeros for a split, which the valves make.

    S3 comes 0.12 to 0.18 s after S2, S4 0.08 to 0.12 s before S1, both at 20 to 70 Hz. A click lasts 20 to 30 ms at 100
    to 300 Hz: an ejection click follows S1 by 0.05 to 0.08 s, a mid-systolic one comes at 0.45 to 0.7 of the systole.

    Parameters
    ----------
    kind : str
        One of ``EXTRA_SOUNDS``.
    beats, rate_hz, n_samples, rng
        As for ``valve_sounds``.

    Returns
    -------
    ndarray, [n_samples] float64
    """
    signal = np.zeros(n_samples)
    if kind.startswith("split"):
        return signal
    if kind.endswith("click"):
        start_hz = rng.uniform(120, 260)
        sound = Transient(start_hz, 0.8 * start_hz, 0.002, rng.uniform(0.006, 0.01), rng.uniform(0.8, 1.4))
    else:
        start_hz = rng.uniform(40, 65)
        sound = Transient(start_hz, 0.7 * start_hz, 0.01, rng.uniform(0.015, 0.02), rng.uniform(0.9, 1.7))
    delay_s = {
        "s3": rng.uniform(0.12, 0.18),
        "s4": -rng.uniform(0.08, 0.12),
        "ejection click": rng.uniform(0.05, 0.08),
        "mid-systolic click": 0.0,
    }[kind]
    place = rng.uniform(0.45, 0.7)
    for beat in beats:
        at_s = {
            "s3": beat.s2_s,
            "s4": beat.end_s,
            "ejection click": beat.s1_s,
            "mid-systolic click": beat.s1_s + place * (beat.s2_s - beat.s1_s),
        }[kind]
        add(signal, rate_hz, at_s + delay_s, sound, beat.s1_gain)
    return signal


def murmur(kind: str, beats: Sequence[Beat], rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Make a murmur in all beats: noise in its band and phase, as loud as the beat is.

    Parameters
    ----------
    kind : str
        One of ``MURMURS``.
    beats, rate_hz, n_samples, rng
        As for ``valve_sounds``.

    Returns
    -------
    ndarray, [n_samples] float64
    """
    found = MURMURS[kind]
    low_hz, high_hz = np.array(found.band_hz) * rng.uniform(0.85, 1.15)
    loudness = np.exp(rng.uniform(*np.log(_LOUDNESS)))
    time_s = np.arange(n_samples) / rate_hz
    envelope = np.zeros(n_samples)
    for beat in beats:
        start_s, end_s = (beat.s1_s, beat.s2_s) if found.phase == "systole" else (beat.s2_s, beat.end_s)
        place = ((time_s - start_s) / (end_s - start_s) - found.span[0]) / (found.span[1] - found.span[0])
        inside = (place > 0) & (place < 1)
        envelope[inside] += beat.s1_gain * found.shape(place[inside])
    sound: Values = loudness * envelope * band_noise(low_hz, high_hz, rate_hz, n_samples, rng)
    return sound


def draw_murmur(rng: np.random.Generator) -> str:
    """Draw a kind of ``MURMURS`` by their shares."""
    return str(rng.choice(list(MURMURS), p=[one.share for one in MURMURS.values()]))
