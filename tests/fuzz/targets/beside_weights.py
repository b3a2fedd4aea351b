"""What lies beside the weights: tokenizer and chat template."""

from pathlib import Path
from random import Random

from fuzz import entrances, seeds
from fuzz.damage import damage
from fuzz.target import Seed, Target
from fuzz.targets.json_files import damage_json, models

_ODD_TEMPLATES = (
    "",
    " ",
    "{{ unknown }}",
    "{{ unknown.name }}",
    "{% for",
    "{{ 1 // 0 }}",
    "{{ raise_exception('no system role') }}",
    "{% for m in messages %}{{ m['content'][0]['text'] }}{% endfor %}",
    "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages | map(attribute='x') | list }}",
    "{% include 'x' %}",
    "{{ 'a' * 200000 }}",
    "{{ (range(3) | list)[7].x }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ '\\x1b[31m' }}é\0",
    "{{ 9 ** 9 ** 6 }}" * 0 + "{{ 'x'.format_map(1) }}",
)


def _damage_tokenizer(folder: Path, random: Random) -> str:
    name = random.choice(("tokenizer.json", "tokenizer.json", "tokenizer_config.json"))
    return damage_json(name, None, folder, random)


def _damage_template(folder: Path, random: Random) -> str:
    path = folder / "model" / "chat_template.jinja"
    if random.random() < 0.3:
        return damage(path, random, range(0, 70, 7))
    template = random.choice(_ODD_TEMPLATES)
    path.write_text(template, encoding="utf-8")
    return f"the template is {template[:100]!r}"


_TOLD = (entrances.EVALUATE, entrances.GENERATE, entrances.QUANTIZE)

TOKENIZER = Target(
    models("llama", read_by=_TOLD) | {"template": Seed(seeds.talkative, (*_TOLD, entrances.CHAT))},
    _damage_tokenizer,
)
TEMPLATE = Target(
    {"template": Seed(seeds.talkative, (*_TOLD, entrances.CHAT, entrances.CHAT, entrances.CHAT))},
    _damage_template,
)
