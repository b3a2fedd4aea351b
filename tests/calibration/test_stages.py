"""A forward that stops before each group of linears: same numbers, and every way it can end."""

import _thread
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_models
from tersor.calibration.blocks import BlockCall
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.places import check_reached, find_places, stage_of
from tersor.calibration.skeleton import Decoder
from tersor.calibration.stages import Stage, staged
from tersor.checkpoints.opening import open_source
from tersor.errors import OutputError, SourceError
from tersor.models.describing import describe
from tersor.models.experts import unfused_shapes
from tersor.models.pairs import input_groups

MOE = ("mixtral", "qwen3_moe")
# Two full pieces and a ragged one.
BATCH, ROWS = 8, 3
Change = Callable[[Stage], None]


@dataclass(frozen=True)
class Loaded:
    """A block with its weights, and what it is to be called with."""

    call: BlockCall
    hidden: Tensor
    stages: list[Stage]

    def run(
        self, change: Change | None = None, *, limit: int = 1 << 30
    ) -> tuple[Tensor, dict[Stage, Tensor]]:
        """Output, and the inputs of every stage; ``change(stage)`` while the forward waits."""
        into, seen = torch.full_like(self.hidden, torch.nan), {}
        memory = ActivationMemory(limit)
        with closing(staged(self.call, self.hidden, into, self.stages, memory)) as forward:
            for stage, inputs in forward:
                seen[stage] = torch.cat(inputs)
                if change is not None:
                    change(stage)
        assert bool(memory.spilled) == (limit == 0)
        return into, seen

    def halve(self, stage: Stage) -> None:
        for weight in self.weights(stage):
            weight.mul_(0.5)

    def weights(self, stage: Stage) -> list[Tensor]:
        state = self.call.block.state_dict()
        if stage.fused is not None:
            return [state[stage.fused[0]][stage.fused[1]]]
        return [state[f"{path}.weight"] for path in stage.modules]


@contextmanager
def loaded(
    family: str, directory: Path, *, batch: int = BATCH, rows: int = ROWS, **overrides: Any
) -> Iterator[Loaded]:
    """The second block of a tiny model."""
    tiny_models.save_tiny(family, directory, **overrides)
    source = open_source(directory)
    shapes: dict[str, tuple[int, ...]] = {}
    architecture = describe(source.config, {n: i.shape for n, i in source.tensors.items()})
    for info in source.tensors.values():
        shapes |= unfused_shapes(architecture, info.name, info.shape)
    decoder = Decoder(source, architecture)
    stages = []
    for group in input_groups(architecture, shapes, 1):
        places = find_places(source, architecture, decoder, group)
        for _, members in groupby(places.items(), key=lambda item: item[1].expert):
            stages.append(stage_of(list(members)))
    stages.sort(key=lambda stage: stage.fused[1] if stage.fused else -1)
    memory = ActivationMemory(1 << 30)
    with torch.no_grad():
        calls, hidden = decoder._enter(tiny_models.tokens(batch=batch), rows, memory, torch.float32)
        with decoder.loaded(0):
            calls[0].run(hidden, hidden)
        with decoder.loaded(1):
            yield Loaded(calls[1], hidden, stages)


@pytest.fixture
def llama(tmp_path: Path) -> Iterator[Loaded]:
    with loaded("llama", tmp_path) as block:
        yield block


@pytest.fixture
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def by_hooks(block: Loaded) -> dict[str, Tensor]:
    """Inputs of all linear modules and of the experts, seen from outside in a plain forward."""
    seen: dict[str, list[Tensor]] = defaultdict(list)
    handles = []
    for path, module in block.call.block.named_modules():
        if any(path in stage.modules for stage in block.stages) or path == "mlp.experts":

            def see(_: Any, args: Any, path: str = path) -> None:
                seen[path].append(args[0].reshape(-1, args[0].shape[-1]))
                if path == "mlp.experts":
                    seen["chosen"].append(args[1])

            handles.append(module.register_forward_pre_hook(see))
    for piece in block.call.pieces(block.hidden):  # in order, one after the other
        block.call(block.hidden[piece])
    for handle in handles:
        handle.remove()
    found = {path: torch.cat(pieces) for path, pieces in seen.items() if path != "chosen"}
    if "mlp.experts" in found:
        del found["mlp.experts"]
        gate_up = block.call.block.state_dict()["mlp.experts.gate_up_proj"]
        for expert, matrix in enumerate(gate_up):
            # First the tokens whose first choice the expert is, then those whose second.
            rows = torch.cat(
                [
                    x[torch.eq(chosen.T, expert).nonzero()[:, 1]]
                    for x, chosen in zip(seen["mlp.experts"], seen["chosen"], strict=True)
                ]
            )
            gate, up = (rows @ matrix.T).chunk(2, -1)
            found[f"mlp.experts.gate_up_proj {expert}"] = rows
            found[f"mlp.experts.down_proj {expert}"] = torch.nn.functional.silu(gate) * up
    return found


def label(stage: Stage) -> str:
    return f"{stage.fused[0]} {stage.fused[1]}" if stage.fused else stage.modules[0]


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_unchanged_weights_give_the_plain_forward(family: str, tmp_path: Path) -> None:
    with loaded(family, tmp_path) as block:
        expected = block.call.run(block.hidden, torch.empty_like(block.hidden))
        output, seen = block.run()
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
        linears = {path for stage in block.stages for path in stage.modules}
        assert list(seen) == [stage for stage in block.stages if stage in seen]
        assert {path for stage in seen for path in stage.modules} == linears
        inputs = by_hooks(block)
        for stage, x in seen.items():
            torch.testing.assert_close(x, inputs[label(stage)], rtol=1e-5, atol=1e-6)
        # The next run changes its own input.
        into = block.hidden
        for _ in staged(block.call, into, into, block.stages, ActivationMemory(1 << 30)):
            pass
        assert torch.equal(into, output)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gpt_neox", "phi3", *MOE])
@pytest.mark.parametrize("at", [0, 1, -2])
def test_new_weights_change_what_comes_after_and_nothing_else(
    family: str, at: int, tmp_path: Path
) -> None:
    with loaded(family, tmp_path) as block:
        before, seen_before = block.run()
        changed = list(seen_before)[at]
        output, seen = block.run(lambda s: block.halve(s) if s == changed else None)
        after, seen_after = block.run()
        torch.testing.assert_close(output, after, rtol=0, atol=0)
        assert not torch.allclose(output, before)
        order = list(seen)
        for stage in order[: order.index(changed) + 1]:
            assert torch.equal(seen[stage], seen_before[stage]), label(stage)
        for stage in order[order.index(changed) + 1 :]:
            assert torch.equal(seen[stage], seen_after[stage]), label(stage)


def test_every_stage_sees_what_all_earlier_ones_became(llama: Loaded) -> None:
    output, seen = llama.run(llama.halve)
    after, seen_after = llama.run()
    assert torch.equal(output, after)
    assert all(torch.equal(seen[stage], seen_after[stage]) for stage in llama.stages)


def test_new_weights_count_in_bfloat16_too(llama: Loaded) -> None:
    """Autocast keeps converted weights under some conditions; none of them may hold."""
    block = replace(llama, call=replace(llama.call, dtype=torch.bfloat16))
    exact, _ = llama.run()
    before, _ = block.run()
    assert not torch.equal(before, exact)
    torch.testing.assert_close(before, exact, rtol=0.05, atol=0.1)
    output, _ = block.run(block.halve)
    after, _ = block.run()
    assert torch.equal(output, after)
    assert not torch.allclose(output, before, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("family", MOE)
def test_experts_come_in_ascending_order_whoever_needs_them(family: str, tmp_path: Path) -> None:
    """Windows of a few tokens in pieces of one: most pieces leave out some expert."""
    with loaded(family, tmp_path, batch=6, rows=1) as block:
        short = replace(block, hidden=block.hidden[:, :2].clone(), call=short_call(block.call))
        output, seen = short.run()
        numbers = [stage.fused[1] for stage in seen if stage.fused]
        assert numbers == sorted(numbers)
        sent = {s.fused[1]: len(x) for s, x in seen.items() if s.fused and "gate_up" in s.fused[0]}
        assert sum(sent.values()) == 2 * 6 * 2  # two experts for each of twelve tokens
        expected = short.call.run(short.hidden, torch.empty_like(short.hidden))
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


def short_call(call: BlockCall) -> BlockCall:
    """The call for the first two positions of every window."""
    cosine, sine = call.kwargs["position_embeddings"]
    kwargs = {**call.kwargs, "position_embeddings": (cosine[:, :2], sine[:, :2])}
    kwargs |= {"attention_mask": None, "position_ids": None}
    return replace(call, kwargs=kwargs)


def test_a_gradient_is_never_kept(llama: Loaded) -> None:
    with torch.enable_grad():
        for weight in llama.call.block.parameters():
            weight.requires_grad_(True)
        output, seen = llama.run()
    assert not output.requires_grad
    assert not any(x.requires_grad for x in seen.values())


def test_without_a_place_for_the_output_nothing_is_written(llama: Loaded) -> None:
    before = llama.hidden.clone()
    memory = ActivationMemory(1 << 30)
    reached = [stage for stage, _ in staged(llama.call, llama.hidden, None, llama.stages, memory)]
    assert reached == llama.stages
    assert torch.equal(llama.hidden, before)


def test_without_stages_it_is_a_forward(llama: Loaded) -> None:
    expected = llama.call.run(llama.hidden, torch.empty_like(llama.hidden))
    assert torch.equal(replace(llama, stages=[]).run()[0], expected)


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {}),
        ("gpt2", {}),
        ("mixtral", {}),
        # Here the first linear reads the block's input itself, without a norm in between.
        ("opt", {"do_layer_norm_before": False}),
    ],
    ids=["llama", "gpt2", "mixtral", "opt-post-norm"],
)
def test_spilled_activations_are_the_same_bits(
    family: str, overrides: dict[str, Any], rows: int, tmp_path: Path
) -> None:
    with loaded(family, tmp_path, rows=rows, **overrides) as block:
        before = block.hidden.clone()
        output, seen = block.run()
        spilled_output, spilled = block.run(limit=0)
        assert torch.equal(spilled_output, output)
        assert all(torch.equal(spilled[stage], x) for stage, x in seen.items())
        assert torch.equal(block.hidden, before)
        mapped = ActivationMemory(0).empty(tuple(before.shape)).copy_(before)
        memory = ActivationMemory(0)
        for _ in staged(block.call, mapped, mapped, block.stages, memory):
            pass
        assert torch.equal(mapped, output)


def test_inputs_are_let_go_after_their_stage(llama: Loaded) -> None:
    """Beyond a limit that holds the widest stage, but not two, nothing is spilled."""
    widest = 4 * BATCH * 24 * 160
    memory = ActivationMemory(widest)
    for stage, inputs in staged(llama.call, llama.hidden, None, llama.stages, memory):
        assert sum(x.nbytes for x in inputs) <= widest, stage
    assert memory.spilled == 0


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3_moe"])
def test_the_number_of_cores_changes_no_bit(family: str, tmp_path: Path) -> None:
    found = []
    for cores in (2, 1):
        torch.set_num_threads(cores)
        with loaded(family, tmp_path / str(cores)) as block:
            found.append(block.run(block.halve))
    assert torch.equal(found[0][0], found[1][0])
    for first, second in zip(found[0][1].values(), found[1][1].values(), strict=True):
        assert torch.equal(first, second)


# How it ends


@pytest.fixture(params=[1, 2], ids=["one core", "two cores"])
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Threads and torch's settings are afterwards what they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    threads = _threads()
    yield
    assert _threads() == threads
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


def _threads() -> int:
    """Without the one that watches all of tqdm's bars, whenever the first appears."""
    return sum(type(thread).__name__ != "TMonitor" for thread in threading.enumerate())


def hooks_left(block: Loaded) -> int:
    return sum(len(module._forward_pre_hooks) for module in block.call.block.modules())


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("error", [ValueError("consumer"), KeyboardInterrupt("consumer")])
def test_a_failure_of_the_consumer(llama: Loaded, error: BaseException) -> None:
    def fail(stage: Stage) -> None:
        if stage == llama.stages[1]:
            raise error

    with pytest.raises(type(error), match="consumer"):
        llama.run(fail)
    assert hooks_left(llama) == 0


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("stops", [1, 2, 4])
def test_closing_early(llama: Loaded, stops: int) -> None:
    memory = ActivationMemory(1 << 30)
    forward = staged(llama.call, llama.hidden, None, llama.stages, memory)
    for _ in range(stops):
        next(forward)
    forward.close()
    assert hooks_left(llama) == 0
    assert next(forward, None) is None


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("path", ["input_layernorm", "self_attn.o_proj", "mlp.act_fn"])
def test_a_failure_inside_one_piece(llama: Loaded, path: str) -> None:
    """The first, before anything stops; later, while the others wait or are about to."""
    calls = []

    def fail(*_: object) -> None:
        calls.append(threading.current_thread())
        if len(calls) == 2:
            raise ArithmeticError("piece")

    handle = llama.call.block.get_submodule(path).register_forward_hook(fail)
    with pytest.raises(ArithmeticError, match="piece"):
        llama.run()
    handle.remove()
    assert hooks_left(llama) == 0


@pytest.mark.usefixtures("two_cores")
def test_a_piece_that_stops_after_another_one_failed(llama: Loaded) -> None:
    threads = threading.active_count()
    failing: list[threading.Thread] = []
    failed = threading.Event()

    def fail_or_wait(*_: object) -> None:
        if not failing:
            failing.append(threading.current_thread())
            failed.set()
            raise ArithmeticError("first piece")
        if failed.wait(10) and threading.current_thread() is not failing[0]:
            failing[0].join(10)
            assert not failing[0].is_alive()

    handle = llama.call.block.get_submodule("input_layernorm").register_forward_hook(fail_or_wait)
    with pytest.raises(ArithmeticError, match="first piece"):
        llama.run()
    handle.remove()
    assert threading.active_count() == threads


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("path", ["input_layernorm", "mlp.act_fn"])
def test_an_interrupt_while_pieces_run(llama: Loaded, path: str) -> None:
    """As Ctrl-C does it: the signal reaches the thread that waits for the others."""
    calls: list[int] = []

    def interrupt(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            _thread.interrupt_main()

    handle = llama.call.block.get_submodule(path).register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        llama.run()
    handle.remove()
    assert hooks_left(llama) == 0


@pytest.mark.usefixtures("nothing_left")
def test_a_thread_that_cannot_be_started(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def second_fails(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", second_fails)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        llama.run()
    assert hooks_left(llama) == 0


@pytest.mark.usefixtures("nothing_left")
def test_a_full_disk_in_a_piece(llama: Loaded, tmp_path: Path) -> None:
    memory = ActivationMemory(0, tmp_path / "missing")
    forward = staged(llama.call, llama.hidden, None, llama.stages, memory)
    with pytest.raises(OutputError, match="cannot hold"):
        next(forward)


def test_what_was_not_reached_is_named(llama: Loaded, tmp_path: Path) -> None:
    source, block = open_source(tmp_path), llama.call.block
    check_reached(source, block, llama.stages, set(llama.stages))
    with pytest.raises(SourceError, match=r"LlamaDecoderLayer does not use mlp\.down_proj"):
        check_reached(source, block, llama.stages, set(llama.stages[:-1]))
