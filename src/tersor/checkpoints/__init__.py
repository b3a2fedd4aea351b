"""Streamed, atomic reading and writing of model directories."""

from tersor.byte_sizes import human_bytes
from tersor.checkpoints.files import write_json, write_text
from tersor.checkpoints.output.directory import OutputDirectory
from tersor.checkpoints.output.writer import ShardWriter, shard_layout
from tersor.checkpoints.restore import restore
from tersor.checkpoints.source import (
    Source,
    TensorInfo,
    block_order,
    open_source,
    refuse_quantized,
)

__all__ = [
    "OutputDirectory",
    "ShardWriter",
    "Source",
    "TensorInfo",
    "block_order",
    "human_bytes",
    "open_source",
    "refuse_quantized",
    "restore",
    "shard_layout",
    "write_json",
    "write_text",
]
