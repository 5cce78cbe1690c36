"""The dataset by PySpark: ``mapInArrow`` over a DataFrame of paths, ``local[N]``.

Tuned as Spark's own documents advise: a few partitions a core and no shuffle but that of the paths; Arrow both ways,
in batches of a whole partition, or of 128 recordings where it has more; Python workers kept between stages; the
reference's frames broadcast, the partial fits of the scaler in an accumulator. The JVM writes the rows with the others'
compression, zstd at level 1, and its own choice of dictionaries. No user interface.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark import Accumulator, AccumulatorParam, Broadcast
from pyspark.sql import SparkSession

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.scaling import ScalerFit
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.plan import plan_shards, plan_table
from heartbeat_core.results.schema import RECORDINGS
from heartbeat_core.storage.uris import ROWS_FOLDER
from tests.benchmarks import engine_work

CONFIG = {
    "spark.ui.enabled": "false",
    "spark.driver.memory": "2g",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(engine_work.LARGE_PART_RECORDINGS),
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.hadoop.parquet.compression.codec.zstd.level": "1",
}

Batches = Iterator[pa.RecordBatch]


class MergedFit(AccumulatorParam[ScalerFit | None]):
    """Merges the partial fits of tasks; None is the fit of no rows."""

    def zero(self, value: ScalerFit | None) -> None:
        """Return what a task begins with."""

    def addInPlace(self, value1: ScalerFit | None, value2: ScalerFit | None) -> ScalerFit | None:  # noqa: N802
        """Return both together."""
        return value2 if value1 is None else value1 if value2 is None else value1.merge(value2)


def scan(recipe: Recipe) -> Callable[[Batches], Batches]:
    """Return what maps batches of paths to the claims of their headers."""

    def claims(batches: Batches) -> Batches:
        for batch in batches:
            found = engine_work.scan_headers(_recordings(batch), recipe)
            yield pa.record_batch({"uri": pa.array(list(found)), "n_frames": pa.array(found.values(), pa.int64())})

    return claims


def build(recipe: Recipe, frames: Broadcast, fits: Accumulator) -> Callable[[Batches], Batches]:
    """Return what maps batches of paths to a dataset's rows, and adds each partition's fit to ``fits``."""

    def rows(batches: Batches) -> Batches:
        reference = Reference(frames.value)
        fit = ScalerFit(len(reference))
        for batch in batches:
            yield from engine_work.align(_recordings(batch), recipe, reference, fit).to_batches()
        fits.add(fit)

    return rows


def main() -> None:
    """Build the dataset with Spark."""
    arguments = engine_work.parallel_parser("Build an aligned dataset with PySpark.").parse_args()
    recipe, out = arguments.recipe, arguments.out.absolute()
    spark = _start(arguments.workers)
    recordings = engine_work.labelled_recordings(arguments.folder)
    paths = spark.createDataFrame(plan_table([(0, recordings)])).repartition(
        engine_work.PARTS_A_WORKER * arguments.workers
    )
    claims = dict(paths.mapInArrow(scan(recipe), "uri string, n_frames long").collect())
    frames = spark.sparkContext.broadcast(engine_work.longest_frames(recordings, claims, recipe))
    fits: Accumulator[ScalerFit | None] = spark.sparkContext.accumulator(None, MergedFit())
    schema = spark.createDataFrame(RECORDINGS.empty_table()).schema
    rows = paths.mapInArrow(build(recipe, frames, fits), schema)
    rows.write.parquet((out / ROWS_FOLDER).as_uri())
    engine_work.write_scaler(out, iter([fits.value]))
    spark.stop()


def _start(workers: int) -> SparkSession:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local[{workers}]").appName("engines")
    return builder.config(map=CONFIG).getOrCreate()


def _recordings(batch: pa.RecordBatch) -> list[Recording]:
    return [recording for shard in plan_shards(pa.Table.from_batches([batch])).values() for recording in shard]


if __name__ == "__main__":
    main()
