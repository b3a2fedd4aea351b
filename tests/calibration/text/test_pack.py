"""Several files, rows and conversations in windows."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tersor.calibration.text import calibration_files, evaluation_file, open_text, pack, windows
from tersor.calibration.text.provenance import PACKING_RULES
from tersor.errors import SourceError, TextError

CHATML = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ '\n' }}"
    "{% if m['role'] not in ['user', 'assistant'] %}{{ raise_exception('no such role') }}"
    "{% endif %}{% endfor %}"
)


class Letters:
    """One token per character; a plain call adds ``first``."""

    chat_template: str | None = None

    def __init__(self, *first: int) -> None:
        self.first = list(first)

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, **options: Any
    ) -> dict[str, list[int]]:
        return {"input_ids": self.first * add_special_tokens + [ord(letter) for letter in text]}


def chatting(template: str) -> PreTrainedTokenizerFast:
    """A tokenizer of letters with a chat template, which begins every text with ``^``."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    core = Tokenizer(models.WordLevel({chr(i): i for i in range(128)}, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.post_processor = processors.TemplateProcessing("^ $A", special_tokens=[("^", ord("^"))])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="?", bos_token="^", chat_template=template
    )


def text_file(tmp_path: Path, name: str, text: str) -> Any:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return open_text(tmp_path / name)


def rows_file(tmp_path: Path, name: str, *rows: dict[str, Any]) -> Any:
    return text_file(tmp_path, name, "".join(json.dumps(row) + "\n" for row in rows))


def talk(*said: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": s} for i, s in enumerate(said)]}


def shown(tokens: torch.Tensor) -> list[str]:
    return ["".join(map(chr, window)) for window in tokens.tolist()]


@pytest.mark.parametrize("tokenizer", [Letters(), Letters(94), Letters(94, 95)])
@pytest.mark.parametrize("count", [1, 3, 99, None])
def test_one_plain_text_gives_its_windows(
    tmp_path: Path, tokenizer: Letters, count: int | None
) -> None:
    file = text_file(tmp_path, "a.txt", "Some words. " * 20)
    found = pack(tokenizer, [file], 11, count)
    assert torch.equal(found.tokens, windows(tokenizer, file.text, 11, count))
    assert found.first_tokens == tuple(tokenizer.first)
    assert found.notes == ()


def test_every_file_has_its_share_and_short_ones_leave_theirs(tmp_path: Path) -> None:
    files = [
        text_file(tmp_path, "a.txt", "a" * 100),
        text_file(tmp_path, "b.txt", "b" * 12),
        text_file(tmp_path, "c.txt", "c" * 100),
    ]
    found = pack(Letters(94), files, 6, 9)
    assert shown(found.tokens) == ["^aaaaa"] * 4 + ["^bbbbb"] * 2 + ["^ccccc"] * 3
    assert found.notes == (
        "a.txt (text): 4 whole windows",
        "b.txt (text): 2 whole windows",
        "c.txt (text): 3 whole windows",
    )


def test_many_short_files_are_joined(tmp_path: Path) -> None:
    files = [text_file(tmp_path, f"{letter}.txt", letter * 3) for letter in "abcdefg"]
    assert shown(pack(Letters(), files, 5, 4).tokens) == ["aaabb", "bcccd", "ddeee", "fffgg"]
    assert shown(pack(Letters(), files, 5).tokens) == ["aaabb", "bcccd", "ddeee", "fffgg"]


def test_rows_of_text_follow_each_other(tmp_path: Path) -> None:
    file = rows_file(tmp_path, "a.jsonl", {"text": "abc\n"}, {"text": " "}, {"text": "def"})
    found = pack(Letters(94), [file], 5)
    assert shown(found.tokens) == ["^abc\n", "^\ndef"]
    assert found.notes == ("a.jsonl (JSON lines): 2 rows used, the last of them cut, "
                           "1 empty ones left out",)  # fmt: skip


def test_conversations_go_through_the_chat_template(tmp_path: Path) -> None:
    file = rows_file(tmp_path, "a.jsonl", talk("Hi", "Yo"), talk("Bye", "Ok"))
    whole = "<user>Hi\n<assistant>Yo\n<user>Bye\n<assistant>Ok\n"
    found = pack(chatting(CHATML), [file], 9)
    expected = ["^" + whole[i : i + 8] for i in range(0, len(whole) - 7, 8)]
    assert shown(found.tokens) == expected


def test_what_the_template_begins_with_is_not_doubled(tmp_path: Path) -> None:
    file = rows_file(tmp_path, "a.jsonl", talk("Hi"), talk("Yo"), talk("Ok"))
    found = pack(chatting("{{ bos_token }}" + CHATML), [file], 10)
    assert shown(found.tokens) == ["^<user>Hi\n", "^<user>Yo\n", "^<user>Ok\n"]
    cut = pack(chatting("{{ bos_token }}" + CHATML), [file], 12)
    assert shown(cut.tokens) == ["^<user>Hi\n^<", "^user>Yo\n^<u"]


def test_dates_in_templates_are_a_fixed_day(tmp_path: Path) -> None:
    file = rows_file(tmp_path, "a.jsonl", talk("Hi"))
    found = pack(chatting("{{ strftime_now('%Y-%m-%d') }}." + CHATML), [file], 12, 1)
    assert shown(found.tokens) == ["^2025-01-01."]


def test_rows_no_further_than_needed(tmp_path: Path) -> None:
    file = text_file(tmp_path, "a.jsonl", '{"text": "abcdefgh"}\n{"text": "ij"}\nbroken\n')
    assert shown(pack(Letters(), [file], 4, 2).tokens) == ["abcd", "efgh"]
    with pytest.raises(TextError, match="line 3: broken JSON"):
        pack(Letters(), [file], 4, 9)


def test_what_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="no text file given"):
        pack(Letters(), [], 5)
    with pytest.raises(TextError, match=r"a\.jsonl: no row with anything in it"):
        pack(Letters(), [rows_file(tmp_path, "a.jsonl", {"text": ""}, {"text": "\n"})], 5)
    conversation = rows_file(tmp_path, "b.jsonl", talk("Hi"))
    with pytest.raises(TextError, match=r"b\.jsonl, line 1: messages, but .* no chat template"):
        pack(Letters(), [conversation], 5)
    with pytest.raises(TextError, match="has 9 tokens and one window needs 98"):
        pack(chatting(CHATML), [conversation], 99)
    odd = rows_file(tmp_path, "c.jsonl", {"messages": [{"role": "judge", "content": "Hi"}]})
    with pytest.raises(TextError, match=r"c\.jsonl, line 1: .*refuses the conversation .no such"):
        pack(chatting(CHATML), [odd], 5)


def test_what_comes_with_tersor_is_mixed(tmp_path: Path) -> None:
    files = calibration_files()
    assert [file.name for file in files] == [
        f"built-in {name}" for name in ("code.txt", "dialogues.jsonl", "languages.txt", "prose.txt")
    ]
    for tokenizer in (
        Letters(),
        chatting(CHATML.replace("{% if", "{# ").replace("{% endif %}", "#}")),
    ):
        found = pack(tokenizer, files, 64, 16)
        assert found.tokens.shape == (16, 64)
        assert found.notes == ()
    kinds = shown(pack(Letters(), files, 64, 16).tokens)
    assert kinds[0].startswith("// A cache")
    assert kinds[4].startswith("User: ")
    assert kinds[8].startswith("Der Bäcker")
    assert kinds[12].startswith("The lighthouse")
    assert len(set(kinds)) == 16


def test_evaluation_sees_nothing_of_what_calibrates() -> None:
    evaluation = evaluation_file().text
    assert 55_000 < len(evaluation) < 65_000
    paragraphs = {p for f in calibration_files() for p in f.text.split("\n\n")}
    assert [p for p in evaluation.split("\n\n") if p in paragraphs] == []


def test_a_template_without_system_messages_reads_what_comes_with_tersor() -> None:
    """CHATML refuses every role but the user's and the assistant's."""
    dialogues = calibration_files()[1]
    assert dialogues.rows is not None
    systems = [row for row in dialogues.rows() if row.messages[0]["role"] == "system"]
    assert systems
    words = chatting(CHATML).decode(
        pack(chatting(CHATML), [dialogues], 4000).tokens.flatten(), skip_special_tokens=False
    )
    assert systems[0].messages[0]["content"].replace(" ", "") in words.replace(" ", "")
    assert "<system>" not in words.replace(" ", "")
    never = chatting("{{ raise_exception('never') }}")
    assert shown(pack(never, [dialogues], 6, 1).tokens) == ["^User:"]


def test_what_of_each_file_is_used(tmp_path: Path) -> None:
    short = [text_file(tmp_path, f"{letter}.txt", letter * 3) for letter in "abcdefg"]
    joined = pack(Letters(), short, 5, 4).uses
    assert [(use.windows, use.tokens, use.rows) for use in joined] == [
        *[(0, 3, None)] * 6,
        (0, 2, None),
    ]
    rows = rows_file(tmp_path, "a.jsonl", {"text": "abc"}, {"text": "def"}, {"text": "ghi"})
    plain = text_file(tmp_path, "b.txt", "b" * 100)
    found = pack(Letters(94), [plain, rows], 6, 3)
    assert [(use.windows, use.tokens, use.rows) for use in found.uses] == [
        (2, 10, None),
        (1, 5, 1),
    ]
    assert found.uses[1].text.name == "a.jsonl"


def test_the_same_rules_give_the_same_windows(tmp_path: Path) -> None:
    """Whoever changes what is expected here raises ``PACKING_RULES``."""
    files = [
        text_file(tmp_path, "a.txt", "Prose, as it comes.\r\n" * 20),
        rows_file(tmp_path, "b.jsonl", *({"text": f"Row {i}\n"} for i in range(30))),
        rows_file(tmp_path, "c.jsonl", *(talk(f"{i}?", f"{2 * i}.") for i in range(30))),
    ]
    tokens = pack(chatting("{{ bos_token }}" + CHATML), files, 17, 40).tokens
    digest = hashlib.sha256("\n".join(shown(tokens)).encode()).hexdigest()[:16]
    assert (PACKING_RULES, digest) == (1, "5b7b46a7feb89132")


def test_templates_that_want_parts_give_the_same_tokens(tmp_path: Path) -> None:
    file = rows_file(tmp_path, "a.jsonl", talk("Hi"), talk("Yo"))
    parts = CHATML.replace("m['content']", "m['content'][0]['text']")
    assert parts != CHATML
    assert shown(pack(chatting(parts), [file], 8).tokens) == shown(
        pack(chatting(CHATML), [file], 8).tokens
    )


def test_broken_templates_are_the_models_fault(tmp_path: Path) -> None:
    file = rows_file(tmp_path, "a.jsonl", talk("Hi"))
    with pytest.raises(SourceError, match="'nobody' is undefined; repair the template"):
        pack(chatting("{{ nobody.name }}"), [file], 8)
    with pytest.raises(SourceError, match="renders nothing of what the messages say"):
        pack(chatting("hello"), [file], 8)
