"""The public face: what comes out, and what a mistake is told."""

import asyncio
import copy
import inspect
import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import bowstring
from bowstring.engine import ArrowEngine
from bowstring.image.pipeline import ImageOptions
from bowstring.text.pipeline import TextFrame
from bowstring.text.request import TextOptions, TextRequest
from bowstring.text.result import TextResult
from bowstring.text.tokenizer import MASK


@pytest.fixture(scope="module")
def engine(folder):
    return ArrowEngine.load(folder)


def test_a_result_says_how_it_was_made(engine):
    result = engine.generate("a story about a fox", max_tokens=24, seed=1)
    assert isinstance(result.text, str) and str(result) == result.text
    assert all(token == MASK for token in result.trajectory[0])
    assert len(result.trajectory) == len(result.seconds) + 1 == result.nfe + 1
    assert result.nats["nll"] > 0 and result.nats["entropy"] > 0
    assert result.settings["seed"] == 1
    json.dumps(result.to_json())


def test_a_stream_ends_with_its_result(engine):
    *frames, result = engine.stream("a fox", max_tokens=16)
    assert all(isinstance(frame, TextFrame) for frame in frames) and isinstance(result, TextResult)
    assert [frame.share for frame in frames] == sorted(frame.share for frame in frames)
    assert result.tokens == engine.generate("a fox", max_tokens=16).tokens


@pytest.mark.parametrize("kind", ["text", "code"])
def test_diffuse_is_generate_with_the_names_of_the_field(engine, kind):
    one = engine.diffuse("a fox", kind, num_steps=3, max_tokens=16, seed=2)
    assert isinstance(one, str)
    assert one.tokens == engine.generate("a fox", kind=kind, steps=3, max_tokens=16, seed=2).tokens
    assert len(one.notes) == 2 and "was not trained without prompts" in one.notes[0]
    assert engine.diffuse("a fox", kind, 3, 1, False, max_tokens=16).notes == ()


@pytest.mark.parametrize("mode", ["diffusion", "ar"])
@pytest.mark.parametrize("length", [None, 5])
def test_an_infill_keeps_both_sides_to_the_last_character(engine, mode, length):
    prefix, suffix = "def add(a, b):\n    naïve = ", "\n    return c  # €\n"
    result = engine.infill(prefix, suffix, length, mode)
    assert result.text.startswith(prefix) and result.text.endswith(suffix)


def test_texts_become_unit_vectors(engine):
    one, many = engine.encode("a fox"), engine.encode(["a fox", "a much longer text about bears"])
    assert one.shape == (384,) and many.shape == (2, 384)
    np.testing.assert_allclose(many[0], one, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda e: e.generate(""), ValueError, "empty"),
        (lambda e: e.generate(42), TypeError, "expected a string"),
        (lambda e: e.generate("fox " * 400), ValueError, "Shorten it"),
        (lambda e: e.generate("a fox", mode="gan"), ValueError, "'ar' or 'diffusion'"),
        (lambda e: e.generate("a fox", kind="poem"), ValueError, "'code' or 'text'"),
        (lambda e: e.generate("a fox", stepps=3), TypeError, "stepps"),
        (lambda e: e.generate(["a fox", 3]), TypeError, r"the prompt\[1\] is of type int"),
        (lambda e: e.generate("a fox", n=0), ValueError, "n is 0; expected a whole number from 1"),
        (lambda e: e.generate("a fox", stop=["x", ""]), ValueError, "empty string"),
        (lambda e: e.generate("a fox", stop=3), TypeError, "stop is of type int"),
        (lambda e: e.generate("a fox", min_tokens=9, max_tokens=8), ValueError, "min_tokens is 9"),
        (lambda e: e.generate("a fox", repetition_penalty=0), ValueError, "repetition_penalty is 0"),
        (lambda e: e.generate("a fox", steps=2, num_inference_steps=3), TypeError, "one option"),
        (lambda e: e.generate("a fox", cancel=3), TypeError, "cancel is 3; expected a threading.Event"),
        (lambda e: e.diffuse("a fox", "image"), ValueError, 'no image head.*load."multimodal"'),
        (lambda e: e.diffuse("a fox", "smell"), ValueError, "modality is 'smell'"),
        (lambda e: e.diffuse("a fox", guidance_scale=-1), ValueError, "guidance_scale is -1"),
        (lambda e: e.diffuse("a fox", style="flat"), ValueError, "style is an option of image"),
        (lambda e: e.render_avatar("hello", "a.gif"), ValueError, "no a[a-z]+ head"),
        (lambda e: e.infill("x" * 900, "y"), ValueError, "Shorten it"),
        (lambda e: e.infill("a", "b", length=0), ValueError, "length"),
        (lambda e: e.generate("a fox", steps=2.5), ValueError, "steps is 2.5; expected a whole number"),
        (lambda e: e.generate("a fox", seed=None), TypeError, "seed is None"),
        (lambda e: e.generate("a fox", seed=2**64), ValueError, "seed is 18446744073709551616; expected"),
        (lambda e: e.generate("a fox", temperature=float("nan")), ValueError, "temperature is nan"),
        (lambda e: e.generate("a fox", temperature=-1), ValueError, "temperature is -1; expected"),
        (lambda e: e.generate("a fox", top_p=True), TypeError, "top_p is True; expected a number"),
        (lambda e: e.generate("a fox", max_tokens="9"), TypeError, "max_tokens is '9'"),
        (lambda e: e.generate("caf\udce9"), ValueError, "no UTF-8"),
        (lambda e: e.infill("a", None), TypeError, "expected a string"),
        (lambda e: e.encode([]), ValueError, "no texts"),
        (lambda e: e.encode(None), TypeError, "sentences is None; expected a string or a list of strings"),
        (lambda e: e.encode(b"fox"), TypeError, "sentences is of type bytes"),
    ],
)
def test_a_mistake_gets_a_sentence(engine, call, error, says):
    with pytest.raises(error, match=says):
        call(engine)


def test_options_of_any_number_type_are_taken_and_printed_as_json(engine):
    plain = engine.generate("a fox", max_tokens=8, steps=2, temperature=0.5, seed=3)
    for eight, two, three in ((8.0, np.int64(2), torch.tensor(3)), (np.int32(8), torch.tensor(2.0), 3.0)):
        half = np.float32(0.5)
        made = engine.generate("a fox", max_tokens=eight, steps=two, temperature=half, seed=three)
        assert made.tokens == plain.tokens and made.settings == plain.settings
        assert json.loads(json.dumps(made.to_json()))["settings"]["seed"] == 3


def test_many_prompts_make_a_list_and_one_makes_a_text(engine):
    both = engine.generate(["a fox", "a bear"], max_tokens=12, seed=4)
    assert both == [engine.generate(one, max_tokens=12, seed=4) for one in ("a fox", "a bear")]
    three = engine.generate("a fox", n=3, max_tokens=12, seed=4)
    assert three[0] == both[0] and len(set(three)) == 3
    assert engine.generate([], max_tokens=12) == []
    *frames, one, two = engine.stream("a fox", n=2, max_tokens=12, seed=4)
    assert {frame.number for frame in frames} == {0, 1} and [one, two] == three[:2]


def test_text_comes_in_pieces_that_are_the_text(engine):
    for how in ({}, {"mode": "ar"}, {"order": "confidence", "block": 8}, {"stop": " the"}):
        pieces = [*engine.stream_text("a fox", max_tokens=40, seed=6, **how)]
        assert "".join(pieces) == engine.generate("a fox", max_tokens=40, seed=6, **how)
        assert all(pieces)


def test_what_lies_beyond_the_context_counts(engine):
    long = "a fox " * 300
    one, two = engine.encode([long, long + "and a nuclear reactor exploded"])
    assert np.abs(one - two).max() > 1e-4
    np.testing.assert_allclose(np.linalg.norm([one, two], axis=1), 1, rtol=1e-5)


def test_a_saved_model_is_the_same_to_the_bit(engine, tmp_path):
    assert engine.save_pretrained(tmp_path / "copy") == tmp_path / "copy"
    again = ArrowEngine.from_pretrained(tmp_path / "copy")
    assert again.metadata == engine.metadata
    for (name, one), (_, two) in zip(
        engine.network.state_dict().items(), again.network.state_dict().items(), strict=True
    ):
        assert torch.equal(one, two), name
    assert again.generate("a fox", max_tokens=12) == engine.generate("a fox", max_tokens=12)
    with pytest.raises(FileExistsError, match="in use"):
        again.save(tmp_path / "copy")


def test_a_network_in_full_precision_keeps_it(engine, codec, tmp_path):
    network = copy.deepcopy(engine.network)
    weight = network.trunk.layers[0].attention.qkv.weight
    weight[0, 0] = 1 + 2.0**-20
    ArrowEngine(network, codec, engine.metadata).save(tmp_path / "full")
    again = ArrowEngine.load(tmp_path / "full")
    assert torch.equal(again.network.trunk.layers[0].attention.qkv.weight, weight)


def test_threads_and_tasks_share_an_engine(engine):
    how = {"max_tokens": 16, "seed": 1}
    prompts = ["a fox", "a bear", "the cat", "a frog"] * 2
    alone = [engine.generate(one, **how) for one in prompts]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(lambda one: engine.generate(one, **how), prompts)] == alone

    async def gather():
        return await asyncio.gather(*(asyncio.to_thread(engine.generate, one, **how) for one in prompts[:4]))

    assert asyncio.run(gather()) == alone[:4]


def test_two_threads_get_one_part(engine):
    fresh, both = copy.deepcopy(engine), threading.Barrier(2)

    def build():
        both.wait(10)
        return object()

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: fresh._part("slow", build), range(2))
    assert one is two


def _in_child(engine, queue):
    queue.put((str(engine.generate("a fox", max_tokens=12, seed=1)), torch.get_num_threads()))


def test_a_forked_child_writes_the_same(engine):
    expected = engine.generate("a fox", max_tokens=12, seed=1)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(engine, queue))
    child.start()
    text, _ = queue.get(timeout=30)
    child.join(10)
    assert text == expected and child.exitcode == 0


def test_a_copy_is_another_engine_and_a_pickle_is_refused(engine):
    other = copy.deepcopy(engine)
    other.network.trunk.norm.zero_()
    assert other.generate("a fox", max_tokens=12) != engine.generate("a fox", max_tokens=12)
    with pytest.raises(TypeError, match=r"let it call ArrowEngine\.load"):
        pickle.dumps(engine)


def test_copies_keep_what_the_engine_has_at_hand(engine, monkeypatch):
    monkeypatch.setattr(engine, "memory", object())
    monkeypatch.setattr(engine, "adapters", copy.copy(engine.adapters))
    engine.adapters.loaded = {"one": (None, None)}
    for other in (copy.copy(engine), copy.deepcopy(engine)):
        assert other.memory is engine.memory and other.adapters.loaded == engine.adapters.loaded
        assert other._parts is not engine._parts
    assert copy.copy(engine).network is engine.network


def test_gradients_are_the_callers_business(engine):
    stream = engine.stream("a fox", max_tokens=8)
    next(stream), next(stream)
    assert torch.is_grad_enabled()
    stream.close()
    pieces = engine.stream_text("a fox", max_tokens=8)
    next(pieces)
    assert torch.is_grad_enabled()
    with torch.no_grad():
        next(pieces, None)
        assert not torch.is_grad_enabled()
    engine.encode("a fox")
    assert torch.is_grad_enabled()


def test_signatures_are_written_out_and_agree():
    names = lambda name: set(inspect.signature(getattr(ArrowEngine, name)).parameters)
    assert set(TextOptions.__annotations__) == names("generate") - {"self", "prompt", "mode", "kind", "n"}
    assert set(ImageOptions.__annotations__) == names("image") - {"self", "prompt", "n"}
    options = {field.name: field.default for field in fields(TextRequest)} | {
        "prompt": inspect.Parameter.empty
    }
    written = inspect.signature(ArrowEngine.generate).parameters.values()
    assert {one.name: one.default for one in written if one.name != "self"} == options
    assert names("generate") == names("stream")
    tried = {"energies", "constraints", "valid", "retries", "candidates"}  # what is whole is judged
    for one, other in (("image", "image_stream"), ("say", "say_stream")):
        assert names(one) - names(other) == tried and names(other) <= names(one)
    assert names("generate") - names("stream_text") == {"n"}
    for name, method in inspect.getmembers(ArrowEngine, inspect.isfunction):
        if not name.startswith("_"):
            kinds = {parameter.kind for parameter in inspect.signature(method).parameters.values()}
            assert inspect.Parameter.VAR_KEYWORD not in kinds, name


def test_an_engine_says_what_it_is(engine):
    assert engine.modalities == ("text",)
    assert repr(engine).startswith("ArrowEngine('model") and "text; 128 x 3, 16 bits" in repr(engine)


def test_the_default_number_of_steps_is_the_models(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / "metadata.json"
    data = json.loads(path.read_text())
    data["diffusion_config"]["scheduler"]["num_inference_steps"] = 2
    path.write_text(json.dumps(data))
    engine = ArrowEngine.load(tmp_path / "m")
    of_model, given = (engine.generate("a fox", max_tokens=8, **how) for how in ({}, {"steps": 4}))
    assert (of_model.settings["steps"], given.settings["steps"]) == (2, 4)


def test_public_names_are_listed_and_lazy():
    code = (
        "import bowstring, sys; names = dir(bowstring); assert 'torch' not in sys.modules; "
        "assert set(bowstring.__all__) <= set(names); "
        "assert all(hasattr(bowstring, name) for name in bowstring.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (Path(bowstring.__file__).parent / "py.typed").exists()


def test_a_memory_is_opened_with_the_model_or_given_open(folder, tmp_path):
    with ArrowEngine.load(folder, memory=tmp_path / "store").memory as store:
        id = store.add("The fox has moved.")
        assert ArrowEngine.load(folder, memory=store).memory is store
        assert store.search("fox")[0].memory.id == id
    assert ArrowEngine.load(folder).memory is None


def test_adapters_of_an_engine_come_and_go(folder, tmp_path):
    """By a call, by the engine, by the command; without any, every byte is the base's again."""
    from typer.testing import CliRunner

    from bowstring.cli import app
    from bowstring.nn.adapters import LoRA
    from bowstring.weights.adapters import save_adapter

    engine = ArrowEngine.load(folder)
    rng = torch.Generator().manual_seed(0)
    lora = LoRA.fresh(engine.network.trunk, 2, 4.0, rng)
    for one in lora.b.values():
        one.normal_(generator=rng)
    said = {"base": engine.base, "domain": "tales"}
    save_adapter(tmp_path / "tales", lora, kind="diffusion", **said)
    write = lambda **options: engine.generate("a fox", max_tokens=16, seed=1, **options)
    base = write()
    assert engine.load_adapter(tmp_path / "tales") == "tales"
    bent = write()
    assert bent != base and bent.settings["adapters"] == {"tales": 1.0}
    assert write(adapters={}) == base == write(adapters={"tales": 0}) != write(adapters={"tales": -1})
    np.testing.assert_array_equal(engine.encode("a fox"), ArrowEngine.load(folder).encode("a fox"))
    engine.set_adapters({})
    assert write() == base and write(adapters={"tales": 1.0}) == bent
    given = ["run", "a fox", "--max-tokens", "16", "--seed", "1", "--model", str(folder)]
    ran = CliRunner().invoke(app, [*given, "--adapter", f"{tmp_path / 'tales'}:1"])
    assert ran.exit_code == 0 and bent.text in ran.output
    engine.unload_adapter("tales")
    with pytest.raises(ValueError, match="no adapter 'tales'; none is loaded"):
        write(adapters={"tales": 1.0})
    with pytest.raises(FileNotFoundError, match="no folder of an adapter"):
        engine.load_adapter("nowhere")
    save_adapter(tmp_path / "other", lora, kind="ar", **said)
    with pytest.raises(ValueError, match="trained for 'ar'; this model writes by 'diffusion'"):
        engine.load_adapter(tmp_path / "other")


@pytest.mark.parametrize(("name", "says"), [(5, "the model is 5; expected a name"), ("", "name is empty")])
def test_what_is_no_name_of_a_model_is_refused(name, says):
    with pytest.raises((TypeError, ValueError), match=says):
        ArrowEngine.load(name)


def test_our_models_say_that_they_do_not_chat():
    with pytest.raises(AttributeError, match=r"does not chat.*smollm2"):
        ArrowEngine.load().chat("hello")
