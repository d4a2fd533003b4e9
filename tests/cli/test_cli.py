"""The command as a user types it."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from bowstring.cli import app

run = CliRunner().invoke


def test_help_neither_imports_torch_nor_takes_long():
    code = "import sys, resource; from bowstring.cli import app\n"
    code += "try: app(['--help'])\nexcept SystemExit: pass\n"
    code += "u = resource.getrusage(resource.RUSAGE_SELF)\n"
    code += "print('torch' in sys.modules, u.ru_utime + u.ru_stime, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, seconds = done.stderr.split()
    assert imported == "False" and float(seconds) < 1.0  # about 0.15 on an idle machine


def test_run_prints_one_json_object(folder):
    shown = run(app, ["run", "a story about a fox", "--model", str(folder), "--max-tokens", "16", "--json"])
    made = json.loads(shown.stdout)
    assert made["settings"]["prompt"] == "a story about a fox" and "trajectory" not in made


def test_run_without_a_terminal_prints_the_text(folder):
    shown = run(app, ["run", "a fox", "--model", str(folder), "--max-tokens", "16", "--mode", "ar"])
    assert shown.exit_code == 0 and "evaluations" in shown.stdout


def test_infill_encode_show_and_doctor(folder):
    where = ["--model", str(folder)]
    made = json.loads(
        run(app, ["infill", "def f(a):\\n", "--suffix", "    return b", "--json", *where]).stdout
    )
    assert made["text"].startswith("def f(a):\n") and made["text"].endswith("    return b")
    assert len(json.loads(run(app, ["encode", "a fox", *where]).stdout)) == 128
    assert json.loads(run(app, ["show", "--json", *where]).stdout)["modalities"] == "text"
    assert "torch" in run(app, ["doctor"]).stdout


def test_verify_convert_and_tiers(folder, tmp_path):
    assert "match their hashes" in run(app, ["verify", "--model", str(folder)]).stdout
    target = tmp_path / "w.safetensors"
    assert "tensors written" in run(app, ["convert", str(folder / "network.parquet"), str(target)]).stdout
    rows = {row["preset"]: row for row in json.loads(run(app, ["tiers", "--json"]).stdout)}
    assert rows["edge"]["parameters"] < 100e6 and rows["edge"]["file_mb"] < 35 and rows["edge"]["bits"] == 2
    assert rows["workstation"]["file_mb"] <= 200 and rows["cloud"]["parameters"] <= 3e9
    assert "runs here" in run(app, ["tiers"]).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "a fox", "--mode", "gan"], "expected 'ar' or 'diffusion'"),
        (["run", "a fox", "--model", "nowhere"], "holds no model"),
        (["train", "everything"], "unknown recipe 'everything'"),
        (["bench", "weather"], "unknown topic 'weather'"),
        (["data", "smells"], "unknown corpus 'smells'"),
        (["data", "pictures"], "fetch it with `bowstring data pictures --download`"),
        (["sample", "phi4", "-o", "x.gif"], "expected .png for a picture or .npy"),
        (["sample", "phi4", "-o", "x.png", "--beta", "0.9"], "knows 0.2 to 0.68"),
        (["convert", "a.bin", "b.parquet"], "one ends in .parquet"),
        (["quantise", "out", "--bits", "3"], "expected 2 or 4"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, says, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bowstring", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
