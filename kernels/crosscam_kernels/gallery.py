"""A bounded gallery of embeddings with its upkeep and its search in one object."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels._arrays import as_numpy, integer_column
from crosscam_kernels._elements import Element, float32_rows, narrowed
from crosscam_kernels._lock import ReadWriteLock
from crosscam_kernels._ring import ColumnRing
from crosscam_kernels.errors import ShapeError, UsageError
from crosscam_kernels.quantise import quantise_rows
from crosscam_kernels.similarity import CameraRule, similarity_topk

_ELEMENTS: tuple[Element, ...] = ("float32", "bfloat16", "float16", "int8")
_SPARE = 4  # one slot in so many more than `capacity`, so that dead rows are squeezed out rarely


class GalleryMatches(NamedTuple):
    """Best rows of each query, best first.

    Attributes:
        similarity: (Q, k) float32; minus infinity where there is no result.
        row_id: (Q, k) int64; -1 where there is no result.
        owner: (Q, k) int64 owner of each row; -1 where there is no result or no owner.
    """

    similarity: NDArray[np.float32]
    row_id: NDArray[np.int64]
    owner: NDArray[np.int64]


class GalleryRows(NamedTuple):
    """What the gallery knows of its live rows, oldest first.

    Attributes:
        row_id: (N,) int64, ascending.
        camera: (N,) int32.
        time_ns: (N,) int64.
        owner: (N,) int64.
    """

    row_id: NDArray[np.int64]
    camera: NDArray[np.int32]
    time_ns: NDArray[np.int64]
    owner: NDArray[np.int64]


class GalleryIndex:
    """The newest `capacity` embeddings, searched exactly under the masks of `similarity_topk`.

    Every row gets an id that never changes and is never used again; ids ascend in the order of
    `append`. When more than `capacity` rows would be live, the oldest are evicted and counted.
    Removed rows are marked (a tombstone) and their memory is used again later: dropping the oldest
    rows costs nothing, and rows removed from the middle are squeezed out when the ring is full,
    which moves at most about four rows for each one appended.

    Results are those of `similarity_topk` over the live rows in the order of their ids: similarity
    descending, then id ascending. They do not depend on how rows came to lie in memory.

    Thread safety: any number of threads may search and read while one at a time changes the
    gallery. Changes wait for searches under way, and searches wait for changes, which are short.
    All methods may be called from any thread.

    Args:
        dim: Number of features D, at least 1.
        capacity: Most live rows, at least 1. Memory grows with the rows appended, up to a quarter
            more than `capacity`; doublings move rows, so that an append costs O(D) on average.
        dtype: How rows are stored: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"int8"``.
        rescore: With ``"int8"``: type of the copy from which results are computed exactly,
            ``"float32"`` (answers of a float32 gallery, searched faster), ``"float16"``,
            ``"bfloat16"``, or None for no copy and approximate similarities.

    Raises:
        UsageError: A value is impossible.
    """

    def __init__(
        self,
        dim: int,
        *,
        capacity: int = 100_000,
        dtype: Element = "float32",
        rescore: Element | None = "float32",
    ) -> None:
        if dim < 1 or capacity < 1:
            raise UsageError(f"dim={dim}, capacity={capacity}", expected="both at least 1")
        if dtype not in _ELEMENTS:
            raise UsageError(f"dtype={dtype!r}", expected="one of " + ", ".join(_ELEMENTS))
        if rescore is not None and rescore not in _ELEMENTS[:3]:
            raise UsageError(
                f"rescore={rescore!r}", expected="one of " + ", ".join(_ELEMENTS[:3]) + ", or None"
            )
        self._dim = dim
        self._capacity = capacity
        self._dtype = dtype
        self._rescore: Element | None = rescore if dtype == "int8" else None
        empty = self._stored(np.empty((0, dim), np.float32))
        columns: dict[str, NDArray[Any]] = {
            **empty,
            "row_id": np.empty(0, np.int64),
            "camera": np.empty(0, np.int32),
            "time_ns": np.empty(0, np.int64),
            "owner": np.empty(0, np.int64),
        }
        self._ring = ColumnRing(columns, capacity + max(1, capacity // _SPARE))
        self._lock = ReadWriteLock()
        self._next_id = 0
        self._evicted = 0

    @property
    def dim(self) -> int:
        """Number of features of a row."""
        return self._dim

    @property
    def capacity(self) -> int:
        """Most live rows."""
        return self._capacity

    @property
    def evicted(self) -> int:
        """Live rows that had to make room for newer ones, ever."""
        return self._evicted

    @property
    def nbytes(self) -> int:
        """Memory of the rows and their columns, unused slots included."""
        with self._lock.reading():
            columns = self._ring.columns.values()
            return sum(column.nbytes for column in columns) + self._ring.live.nbytes

    def __len__(self) -> int:
        """Number of live rows."""
        return self._ring.live_count

    def append(
        self,
        features: ArrayLike,
        *,
        camera: ArrayLike = -1,
        time_ns: ArrayLike = 0,
        owner: ArrayLike = -1,
    ) -> NDArray[np.int64]:
        """Adds rows; the oldest live rows make room where there is none.

        Args:
            features: (N, D) float32, float16 or bfloat16, L2-normalised by contract.
            camera: (N,) or one camera for all.
            time_ns: (N,) or one time for all, ns.
            owner: (N,) or one owner for all, for example a track or an identity; -1 for none.

        Returns:
            (N,) int64 ids of the rows. Of more than `capacity` rows only the last ones stay.

        Raises:
            ShapeError: An array has the wrong shape or dtype. Nothing is added.
        """
        rows = float32_rows(features, "features", "N")
        if rows.shape[1] != self._dim:
            raise ShapeError(
                f"features have {rows.shape[1]} columns", expected=f"{self._dim}, as the gallery"
            )
        count = len(rows)
        added = {
            "camera": _column(camera, "camera", count, np.int32),
            "time_ns": _column(time_ns, "time_ns", count, np.int64),
            "owner": _column(owner, "owner", count, np.int64),
        }
        skipped = max(0, count - self._capacity)
        added.update(self._stored(rows[skipped:]))
        for name in ("camera", "time_ns", "owner"):
            added[name] = added[name][skipped:]
        with self._lock.writing():
            ids = np.arange(self._next_id, self._next_id + count, dtype=np.int64)
            added["row_id"] = ids[skipped:]
            kept = count - skipped
            surplus = max(0, len(self) + kept - self._capacity)
            if surplus:
                self._ring.drop_oldest(surplus)
            self._ring.append(added, kept)
            self._next_id += count
            self._evicted += surplus + skipped
        return ids

    def remove(self, row_ids: ArrayLike) -> int:
        """Marks rows as removed. Ids that are no longer or not yet there are passed over.

        Args:
            row_ids: (N,) integer ids or a single one, repetitions allowed.

        Returns:
            Number of rows removed.

        Raises:
            ShapeError: `row_ids` is not a row of integers.
        """
        wanted = np.atleast_1d(as_numpy(row_ids, "row_ids"))
        wanted = np.unique(integer_column(wanted, "row_ids", wanted.size, np.int64))
        with self._lock.writing():
            found = [self._find(wanted, part) for part in self._ring.segments()]
            return self._ring.kill(np.concatenate([np.empty(0, np.int64), *found]))

    def remove_owner(self, owner: int) -> int:
        """Marks all rows of an owner as removed and returns their number."""
        with self._lock.writing():
            return self._remove_where("owner", lambda column: column == owner)

    def sweep(self, before_ns: int) -> int:
        """Removes rows older than a time, and returns their number.

        Args:
            before_ns: Rows whose time is smaller are removed, ns.
        """
        with self._lock.writing():
            return self._remove_where("time_ns", lambda column: column < before_ns)

    def compact(self) -> None:
        """Squeezes removed rows out now instead of when the ring is full. Ids stay."""
        with self._lock.writing():
            self._ring.squeeze()

    def rows(self) -> GalleryRows:
        """Copies of the columns of all live rows, oldest first."""
        with self._lock.reading():
            order = self._ring.order()
            return GalleryRows(*(self._ring.columns[name][order] for name in GalleryRows._fields))

    def search(
        self,
        queries: ArrayLike,
        k: int,
        *,
        camera: ArrayLike | None = None,
        camera_rule: CameraRule = "any",
        adjacency: ArrayLike | None = None,
        time_ns: ArrayLike | None = None,
        window: tuple[int | None, int | None] | None = None,
        threads: int | None = None,
    ) -> GalleryMatches:
        """Finds the k most similar live rows of each query among those its masks allow.

        Args:
            queries: (Q, D) float32, float16 or bfloat16, L2-normalised by contract.
            k: Number of results per query, >= 0.
            camera: (Q,) camera of each query; with `camera_rule` or `adjacency`.
            camera_rule: As for `similarity_topk`.
            adjacency: As for `similarity_topk`; every live row must then have a camera in it.
            time_ns: (Q,) time of each query, ns; with `window`.
            window: Inclusive bounds of query time - row time, ns, as for `similarity_topk`.
            threads: At most this many threads; None for one per processor.

        Returns:
            `GalleryMatches` of shape (Q, k).

        Raises:
            ShapeError, UsageError, InputError: As `similarity_topk` does.
        """
        masks: dict[str, Any] = {
            "query_camera": camera,
            "camera_rule": camera_rule,
            "adjacency": adjacency,
            "query_time": time_ns,
            "window": window,
            "threads": threads,
        }
        with self._lock.reading():
            # An empty range checks the call when there is nothing to search.
            parts = self._ring.segments() or [slice(0, 0)]
            return _merged([self._search(queries, k, part, masks) for part in parts], k)

    def _search(
        self, queries: ArrayLike, k: int, part: slice, masks: dict[str, Any]
    ) -> GalleryMatches:
        columns = {name: column[part] for name, column in self._ring.columns.items()}
        live = self._ring.live[part]
        camera = columns["camera"]
        if masks["adjacency"] is not None:  # removed rows need no camera in the matrix
            camera = np.where(live, camera, np.int32(0))
        found = similarity_topk(
            queries,
            columns["features"],
            k,
            scale=columns.get("scale"),
            rescore=columns.get("exact"),
            valid=None if live.all() else live,
            gallery_camera=None if masks["query_camera"] is None else camera,
            gallery_time=None if masks["query_time"] is None else columns["time_ns"],
            **masks,
        )
        missing = found.index < 0
        if missing.all():  # also the case of a part without rows
            nothing = np.full(found.index.shape, -1, np.int64)
            return GalleryMatches(found.similarity, nothing, nothing.copy())
        row_id, owner = columns["row_id"][found.index], columns["owner"][found.index]
        row_id[missing] = owner[missing] = -1
        return GalleryMatches(found.similarity, row_id, owner)

    def _stored(self, rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """The feature columns of new rows."""
        if self._dtype != "int8":
            return {"features": narrowed(rows, self._dtype)}
        if self._rescore is None:
            values, scale = quantise_rows(rows)
            return {"features": values, "scale": scale}
        exact = narrowed(rows, self._rescore)
        # From the copy, not from the rows: the proof of exactness rests on it.
        values, scale = quantise_rows(exact)
        return {"features": values, "scale": scale, "exact": exact}

    def _find(self, wanted: NDArray[np.int64], part: slice) -> NDArray[np.int64]:
        """Slots of a range that hold the wanted ids, which ascend, as do those of the range."""
        held = self._ring.columns["row_id"][part]
        at = np.searchsorted(held, wanted)
        there = at < len(held)
        there[there] = held[at[there]] == wanted[there]
        slots: NDArray[np.int64] = at[there] + part.start
        return slots

    def _remove_where(self, name: str, matches: Any) -> int:
        column = self._ring.columns[name]
        found = [
            np.flatnonzero(matches(column[part])) + part.start for part in self._ring.segments()
        ]
        return self._ring.kill(np.concatenate([np.empty(0, np.int64), *found]))


def _column(
    value: ArrayLike, name: str, count: int, dtype: type[np.signedinteger[Any]]
) -> NDArray[Any]:
    array = as_numpy(value, name)
    return np.broadcast_to(
        integer_column(
            array.reshape(1) if array.ndim == 0 else array,
            name,
            1 if array.ndim == 0 else count,
            dtype,
        ),
        (count,),
    )


def _merged(parts: list[GalleryMatches], k: int) -> GalleryMatches:
    """Best k of parts of ascending ids; among equal similarities the earlier part goes first."""
    if len(parts) == 1:
        return parts[0]
    similarity, row_id, owner = (
        np.concatenate([part[field] for part in parts], axis=1) for field in range(3)
    )
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return GalleryMatches(
        *(np.take_along_axis(column, order, axis=1) for column in (similarity, row_id, owner))
    )
