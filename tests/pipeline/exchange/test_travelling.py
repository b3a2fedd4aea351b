"""What lies beside the weights goes along, from the original to the last conversion."""

import json
from pathlib import Path

import torch

import tersor
from tiny_models import save_tokenizer, tiny

BESIDE = {
    "generation_config.json": '{"temperature": 0.5, "do_sample": true}',
    "chat_template.jinja": "{{ messages[0].content }}",
    "additional_chat_templates/tools.jinja": "{{ tools }}",
    "added_tokens.json": '{"<x>": 127}',
    "special_tokens_map.json": "{}",
    "processor_config.json": '{"auto_map": {"AutoProcessor": "processing_x.X"}}',
    "preprocessor_config.json": '{"size": 3}',
    "video_preprocessor_config.json": "{}",
    "LICENSE": "a licence",
    "modeling_x.py": "from .configuration_x import X\nraise SystemExit('executed')\n",
    "configuration_x.py": "raise SystemExit('executed')\n",
    "processing_x.py": "raise SystemExit('executed')\n",
}
LEFT = ("optimizer.pt", "train.py", "events.log")


def test_from_quantize_to_export_to_import(tmp_path: Path) -> None:
    model = tmp_path / "model"
    tiny("llama").to(torch.bfloat16).save_pretrained(model)
    save_tokenizer(model)
    for name, text in {**BESIDE, **dict.fromkeys(LEFT, "x")}.items():
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(text)
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_x.X"}
    (model / "config.json").write_text(json.dumps(config))
    tersor.quantize(model, tmp_path / "w4", "w4", group_size=32)
    tersor.export(tmp_path / "w4", tmp_path / "mlx", "mlx")
    tersor.import_checkpoint(tmp_path / "mlx", tmp_path / "back")
    for place in ("w4", "mlx", "back"):
        made = tmp_path / place
        for name, text in BESIDE.items():
            assert (made / name).read_text() == text, (place, name)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            assert (made / name).read_bytes() == (model / name).read_bytes()
        assert not [name for name in LEFT if (made / name).exists()]
        found = json.loads((made / "config.json").read_text())
        assert found["auto_map"] == config["auto_map"]
        assert found["rope_theta"] == found["rope_parameters"]["rope_theta"]
        assert found["torch_dtype"] == found["dtype"] == "bfloat16"
