"""Files of JSON: some value, key or byte of them is another."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

from fuzz import entrances, seeds
from fuzz.damage import damage, replace
from fuzz.mutations import dumped, mutate
from fuzz.target import Seed, Target

_WORDS = (
    *("llama", "qwen3", "gemma3_text", "gpt2", "mixtral", "bert", "t5", "mamba", "llava"),
    *("LlamaForCausalLM", "full_attention", "sliding_attention", "silu", "gelu_pytorch_tanh"),
    *("float32", "bfloat16", "float16", "int8", "torch.float64", "yarn", "linear", "dynamic"),
    *("llama3", "default", {"rope_type": "yarn", "factor": 4.0}, {"rope_theta": 1.0}),
    *("int", "float", "group", "channel", "tensor", "token", "tensor_group", "block", "minmax"),
    *("compressed-tensors", "tersor", "fp8", "gptq", "mxfp4", "bitsandbytes", "pack-quantized"),
    *("int-quantized", "float-quantized", "nvfp4-pack-quantized", "Linear", "re:.*", "lm_head"),
    *("nf4", "kmeans", "log2", "fp4", "fp8_e4m3", "full", "none", "restricted", 4, 8, 16, 128),
)


def damage_json(name: str, key: str | None, folder: Path, random: Random) -> str:
    """Damage ``model/name``, or only what it has under ``key``."""
    path = folder / "model" / name
    if random.random() < 0.1:
        return damage(path, random, _cuts(path.read_bytes()))
    value = json.loads(path.read_text(encoding="utf-8"))
    what = mutate(value if key is None else value[key], random, _WORDS)
    replace(path, dumped(value).encode("utf-8", "surrogatepass"))
    return f"{name}: {what}"


def _cuts(data: bytes) -> list[int]:
    return [match.end() for match in re.finditer(rb'[{}\[\]":,]', data)]


def _damaging(name: str, key: str | None = None) -> Callable[[Path, Random], str]:
    return partial(damage_json, name, key)


def models(
    *families: str, read_by: tuple[entrances.Entrance, ...] = entrances.MODEL
) -> dict[str, Seed]:
    """Seeds: tiny models of families."""
    return {name: Seed(partial(seeds.model, family=name), read_by) for name in families}


def artifacts(
    *recipes: str, read_by: tuple[entrances.Entrance, ...] = entrances.ARTIFACT
) -> dict[str, Seed]:
    """Seeds: tiny artifacts of presets."""
    return {name: Seed(partial(seeds.artifact, recipe=name), read_by) for name in recipes}


def _update_card(folder: Path) -> Iterator[float]:
    import tersor

    found = tersor.evaluate(
        folder / "model",
        base=folder / "model",
        text=[folder / "text.txt"],
        context=16,
        windows=1,
        update_card=True,
    )
    yield found.evaluations[0].nll


_UPDATE = entrances.Entrance(
    _update_card,
    entrances.command(
        *("evaluate", "--text", "{}/text.txt", "--context", "16", "--windows", "1"),
        *("--base", "{}/model", "--update-card"),
    ),
)

PUBLISHED = {"published fp8": Seed(seeds.published, entrances.PUBLISHED)}

CONFIG = Target(
    models("llama", "qwen3", "gemma3_text", "phi3", "mixtral", "gpt_neox")
    | models("gpt2", "opt", read_by=entrances.NOT_THE_ENGINE)
    | artifacts("w4"),
    _damaging("config.json"),
)
QUANTIZATION = Target(
    artifacts("w4", "nf4", "w8a8-static", "w8a8", "mxfp4", "kmeans", "w4-asym")
    | artifacts("fp8", read_by=entrances.FLOAT_ARTIFACT)
    | PUBLISHED,
    _damaging("config.json", "quantization_config"),
)
GENERATION = Target(
    {"llama": Seed(seeds.talkative, (*entrances.MODEL, entrances.CHAT))}
    | models("gpt2", read_by=entrances.NOT_THE_ENGINE),
    _damaging("generation_config.json"),
)
INDEX = Target(
    {"shards": Seed(seeds.sharded, entrances.MODEL)}, _damaging("model.safetensors.index.json")
)
ADAPTER = Target({"lora": Seed(seeds.adapted, entrances.MERGING)}, _damaging("adapter_config.json"))
RECORDS = Target(
    artifacts("w4", "nf4", read_by=(_UPDATE, *entrances.ARTIFACT)), _damaging("tersor.json")
)
