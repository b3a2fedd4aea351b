import pytest

from tersor.checkpoints.huggingface.companions import copy_companions, tokenizer_digest
from tersor.checkpoints.opening import open_source
from tersor.errors import OutputError, SourceError
from tiny_models import save_tiny

TRAVELS = [
    "LICENSE",
    "additional_chat_templates/tool_use.jinja",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
]
STAYS = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "training_args.bin",
    "trainer_state.json",
    "README.md",
    "modeling_x.py",
    "onnx/tokenizer.json",
    "original/tokenizer.model",
    "model.gguf",
]


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "source"
    for name in TRAVELS + STAYS:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("{}" if name.endswith("json") else name)
    return directory


@pytest.fixture
def target(tmp_path):
    directory = tmp_path / "target"
    directory.mkdir()
    return directory


def test_companions_travel_and_nothing_else_does(source, target):
    assert list(copy_companions(source, target, {})) == TRAVELS
    found = [f.relative_to(target).as_posix() for f in target.rglob("*") if f.is_file()]
    assert sorted(found) == TRAVELS
    assert (target / "merges.txt").read_text() == "merges.txt"


def test_links_are_copied_as_files(source, target, tmp_path):
    (source / "vocab.json").rename(tmp_path / "blob")
    (source / "vocab.json").symlink_to(tmp_path / "blob")
    copy_companions(source, target, {})
    assert not (target / "vocab.json").is_symlink()
    assert (target / "vocab.json").read_text() == "{}"


def test_code_named_by_auto_map_travels_with_what_it_imports(source, target):
    (source / "modeling_x.py").write_text("import os\nfrom .helper_x import f\nfrom .gone import g")
    (source / "helper_x.py").write_text("from .modeling_x import X\n")
    (source / "tokenization_x.py").write_text("")
    (source / "unrelated.py").write_text("")
    (source / "tokenizer_config.json").write_text(
        '{"auto_map": {"AutoTokenizer": [null, "tokenization_x.T"]}}'
    )
    config = {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
    names = copy_companions(source, target, config)
    assert [name for name in names if name.endswith(".py")] == [
        "helper_x.py",
        "modeling_x.py",
        "tokenization_x.py",
    ]


@pytest.mark.parametrize(
    "reference", ["../secret.X", "/etc/x.X", "org/repo--modeling_x.X", "", 3, ["x/y.Z"]]
)
def test_auto_map_cannot_name_files_elsewhere(reference, source, target):
    (source.parent / "secret.py").write_text("")
    names = copy_companions(source, target, {"auto_map": {"AutoModel": reference}})
    assert list(names) == TRAVELS


def test_corrupt_tokenizer_config_is_named(source, target):
    (source / "tokenizer_config.json").write_text("{")
    with pytest.raises(SourceError, match=r"tokenizer_config\.json: not valid JSON"):
        copy_companions(source, target, {})


def test_target_that_cannot_be_written(source, target):
    (target / "file").touch()
    with pytest.raises(OutputError, match=r"file/LICENSE: cannot be written"):
        copy_companions(source, target / "file", {})


def test_a_companion_that_is_a_git_lfs_pointer_is_refused_on_opening(tmp_path):
    save_tiny("llama", tmp_path)
    pointer = "version https://git-lfs.github.com/spec/v1\n"
    (tmp_path / "pytorch_model.bin").write_text(pointer)
    open_source(tmp_path)
    (tmp_path / "tokenizer.json").write_text(pointer)
    with pytest.raises(SourceError, match=r"tokenizer\.json: a Git LFS pointer, .* git lfs pull"):
        open_source(tmp_path)


def test_a_tokenizer_is_told_by_its_files(source, target):
    before = tokenizer_digest(source)
    assert len(before) == 64
    copy_companions(source, target, {})
    (source / "generation_config.json").write_text('{"max_length": 7}')
    (source / "onnx" / "tokenizer.json").unlink()
    assert tokenizer_digest(source) == tokenizer_digest(target) == before
    (source / "chat_template.jinja").write_text("other")
    assert tokenizer_digest(source) != before
    (source / "chat_template.jinja").rename(source / "other.jinja")
    assert tokenizer_digest(source) != before
