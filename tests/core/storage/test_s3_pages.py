"""The pages of a bucket's listing: every key once, whatever a store puts on a page."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heartbeat_core.storage.s3 import S3Store


class PagedStore(S3Store):
    """A bucket in memory that is listed as S3 lists it: keys and subfolders in order, ``page_size`` of both a page."""

    def __init__(self, keys: list[str], page_size: int) -> None:
        self.keys, self.page_size = sorted(keys), page_size
        self.n_requests = 0

    def _page(self, bucket: str, prefix: str, token: str | None, delimiter: str = "") -> dict[str, Any]:
        self.n_requests += 1
        names: dict[str, bool] = {}
        for key in self.keys:
            if key.startswith(prefix):
                head, slash, _ = key[len(prefix) :].partition("/") if delimiter else (key[len(prefix) :], "", "")
                names[f"{prefix}{head}{slash}"] = bool(slash)
        left = [name for name in sorted(names) if token is None or name > token]
        shown = left[: self.page_size]
        is_truncated = len(left) > len(shown)
        return {
            "Contents": [{"Key": name, "Size": 1} for name in shown if not names[name]],
            "CommonPrefixes": [{"Prefix": name} for name in shown if names[name]],
            "IsTruncated": is_truncated,
            **({"NextContinuationToken": shown[-1]} if is_truncated else {}),
        }

    def walked(self, folder: str) -> list[str]:
        return [entry.uri for entry in self.walk(folder)]


keys = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "-"]), min_size=1, max_size=4).map("/".join), max_size=12, unique=True
)


@given(keys, st.integers(1, 5))
@example(["a/1", "b/2", "c/3"], 1)
@example(["in/a/1", "in/b/2"], 1)
def test_every_key_is_listed_once(found: list[str], page_size: int) -> None:
    assert sorted(PagedStore(found, page_size).walked("s3://bucket")) == [f"s3://bucket/{key}" for key in sorted(found)]


def test_a_truncated_page_of_one_subfolder_hides_its_siblings() -> None:
    store = PagedStore(["in/a/1.wav", "in/b/2.wav", "in/c/3.wav"], page_size=1)
    assert store.walked("s3://bucket/in") == [f"s3://bucket/in/{key}" for key in ("a/1.wav", "b/2.wav", "c/3.wav")]


@pytest.mark.parametrize("depth", [1, 4])
def test_single_subfolders_are_descended(depth: int) -> None:
    store = PagedStore([f"{'one/' * depth}{name}/{n}.wav" for name in "ab" for n in range(3)], page_size=10)
    assert len(store.walked("s3://bucket")) == 6
    # A look at each level, the one that divides among them, and then a page for each of its two parts.
    assert store.n_requests == depth + 1 + 2
