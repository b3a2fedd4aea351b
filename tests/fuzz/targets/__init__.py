"""Every kind of file that is damaged, by name."""

from fuzz.target import Target
from fuzz.targets import (
    beside_weights,
    exchanged,
    gguf_file,
    json_files,
    packed_cache,
    recipe_files,
    safetensors_header,
    texts,
    weights,
)

TARGETS: dict[str, Target] = {
    "config": json_files.CONFIG,
    "quantization": json_files.QUANTIZATION,
    "generation": json_files.GENERATION,
    "index": json_files.INDEX,
    "adapter": json_files.ADAPTER,
    "records": json_files.RECORDS,
    "tokenizer": beside_weights.TOKENIZER,
    "template": beside_weights.TEMPLATE,
    "safetensors": safetensors_header.HEADER,
    "adapter-safetensors": safetensors_header.ADAPTER,
    "values": weights.VALUES,
    "pickle": weights.PICKLE,
    "gguf": gguf_file.GGUF,
    **exchanged.EXCHANGED,
    "recipe": recipe_files.RECIPE,
    "packed": packed_cache.CACHE,
    "text": texts.TEXT,
}
