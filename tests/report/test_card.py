"""The model card: metadata, worst layers first, and a loss section that can be filled in later."""

from dataclasses import replace

import yaml

from tersor.report import CardFacts, LayerRecord, model_card, with_loss

FACTS = CardFacts(
    title="model (w4)",
    base_model="model",
    licence="apache-2.0",
    recipe_name="w4",
    recipe_description="4 bits.",
    recipe_yaml="name: w4\n",
    scheme="W4A16: int4 per group 64",
    method="compressed-tensors",
    source_bytes=269_000_000,
    total_bytes=113_000_000,
    bits_per_weight=6.7,
    bits_per_quantized_weight=4.25,
    version="0.1.0",
    readers="tersor, transformers; not vLLM on CPUs: it has no kernel for W8A16; choose w8a8",
    notes=("something was left alone",),
    texts=("calibrated on 512 tokens of chat.txt",),
    source_digest="0" * 32,
    given=("chat.txt",),
    command="tersor quantize model -o again --recipe recipe.yaml --calibration chat.txt",
)
GOOD = LayerRecord("a.good", (4, 4), "W4A16", 8, sqnr_db=30.0, largest_error=0.01)
RECORDS = (GOOD, replace(GOOD, module="a.bad", sqnr_db=12.0))
LOSS = {
    "tokens": 8176,
    "windows": 16,
    "context": 1024,
    "texts": ["wiki.test.raw"],
    "perplexity": 27.4,
    "base_perplexity": 19.2,
    "kl_mean": 0.41,
    "kl_median": None,
}


def test_card() -> None:
    card = model_card(FACTS, RECORDS)
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata == {"tags": ["tersor", "compressed-tensors"], "license": "apache-2.0"}
    assert card.index("a.bad") < card.index("a.good")
    assert "something was left alone" in card
    assert "has not been measured" in card


def test_loss_replaces_the_section_and_can_be_replaced_again() -> None:
    card = model_card(FACTS, RECORDS)
    measured = with_loss(card, LOSS, 113_400_000)
    assert "| size, MB | 113.4 |" in measured
    assert "has not been measured" not in measured
    assert "| KL divergence, mean | 0.41 |" in measured
    assert "KL divergence, median" not in measured
    assert (
        "On 8176 tokens of wiki.test.raw, 16 windows of 1024, in float32, against the original in "
        "float32:" in measured
    )
    behind = with_loss(card, LOSS | {"first_tokens": [2]})
    assert "16 windows of 1024 (each begins with the tokenizer's first token, 2), in" in behind
    again = with_loss(measured, LOSS | {"kl_mean": 0.5})
    assert "0.41" not in again
    assert again.count("perplexity of the original") == 1
    assert again.endswith(card[-100:])


def test_the_loss_says_what_was_read_and_what_ran() -> None:
    card = model_card(FACTS, RECORDS)
    protocol = {"text_sha256": ["1f" * 32], "skip": 511, "run_by": "the engine"}
    said = with_loss(card, LOSS | protocol)
    assert "tokens of wiki.test.raw (sha256 1f1f1f1f1f1f…), 16 windows" in said
    assert "of 1024, scored behind the first 512 tokens of each, run by the engine, against" in said
    alone = with_loss(card, {key: value for key, value in LOSS.items() if "base" not in key})
    assert "16 windows of 1024, in float32:" in alone


def test_a_card_that_is_not_ours_stays() -> None:
    assert with_loss("# Somebody's model\n", LOSS) == "# Somebody's model\n"


def test_readers_and_what_was_damaged_are_on_the_card() -> None:
    assert f"- read by: {FACTS.readers}" in model_card(FACTS, RECORDS)
    assert "Warning" not in model_card(FACTS, RECORDS)
    card = model_card(FACTS, (*RECORDS, replace(GOOD, module="a.lost", sqnr_db=0.0)))
    assert "**Warning:** a.lost: SQNR 0 dB" in card
    assert card.index("| a.lost |") < card.index("| a.bad |")
