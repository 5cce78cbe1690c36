"""Feature sets that need only short-time spectra: log-mel bands, and summaries of MFCCs and spectral contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.features.catalogue import CONTRAST_MIN_HZ, N_CONTRAST_BANDS
from heartbeat_core.features.signal import RATE_HZ, mfcc


def compute_log_mel(log_mel: Values) -> NDArray[np.float32]:
    """Return [n_frames, 40] float32: the natural logarithm of the power in 40 mel bands to 1 kHz, every 20 ms.

    Parameters
    ----------
    log_mel : ndarray, [n_frames, 40] float64
        As ``signal.log_mel`` returns it.
    """
    return log_mel.astype(np.float32)


def compute_mfcc(log_mel: Values) -> NDArray[np.float32]:
    """Return [40] float32: the means over time of 20 MFCCs, then their standard deviations.

    Parameters
    ----------
    log_mel : ndarray, [n_frames, 40] float64
        As ``signal.log_mel`` returns it.
    """
    return _mean_and_deviation(mfcc(log_mel))


def compute_contrast(power: Values) -> NDArray[np.float32]:
    """Return [8] float32: the means over time of the spectral contrast in dB, then its standard deviations.

    This is the contrast of Jiang et al. (ICME 2002) in octaves from 100 Hz, as librosa computes it.

    Parameters
    ----------
    power : ndarray, [n_frames, 129] float64
        As ``signal.power_spectra`` returns it.
    """
    # Imported here because it takes a second to load and no other feature set needs it.
    import librosa

    contrast: Values = librosa.feature.spectral_contrast(
        S=np.sqrt(power.T), sr=RATE_HZ, n_bands=N_CONTRAST_BANDS, fmin=CONTRAST_MIN_HZ
    ).T
    return _mean_and_deviation(contrast)


def _mean_and_deviation(track: Values) -> NDArray[np.float32]:
    return np.concatenate([track.mean(axis=0), track.std(axis=0)]).astype(np.float32)
