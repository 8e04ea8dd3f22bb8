"""The command line end to end: normal use, misuse, exit codes, and what goes to which stream."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from known_columns import ROW
from PIL import Image

from ulcli import app
from ulcli.network.files.checkpoint import sample_checkpoint, sample_models


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """`ul train --loss maxnorm`, as in the README, in a process of its own."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    done = process("train", "--loss", "maxnorm", "-o", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def images(tmp_path):
    """A copy of the sample images that a test may spoil."""
    return shutil.copytree(sample_models() / "images", tmp_path / "images")


def process(*words, **options):
    """`ul` in a process of its own."""
    command = [sys.executable, "-m", "ulcli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def records(text):
    return list(csv.DictReader(io.StringIO(text)))


class TestFrontDoor:
    def test_help_imports_no_torch_and_is_quick(self):
        script = (
            "import sys, time, ulcli.app as app\n"
            "sys.argv = ['ul', '--help']\n"
            "try: app.main()\n"
            "except SystemExit as end: assert end.code == 0\n"
            "heavy = {'torch', 'torchvision', 'sklearn', 'scipy', 'matplotlib', 'numpy', 'PIL'} & set(sys.modules)\n"
            "assert not heavy, heavy\n"
            "print(time.process_time(), file=sys.stderr)"
        )
        runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True) for _ in range(3)]
        assert all(run.returncode == 0 for run in runs), runs[0].stderr
        assert all(name in runs[0].stdout for name in ("train", "evaluate", "score", "info"))
        # The README promises 0.25 s; a loaded machine gets some room.
        assert min(float(run.stderr) for run in runs) < 0.4

    def test_starting_imports_no_views(self):
        script = "import sys, ulcli.commands.settings, ulcli.output.formats; assert 'rich' not in sys.modules"
        subprocess.run([sys.executable, "-c", script], check=True)

    def test_version(self, ul):
        ran = ul("--version")
        assert ran.code == 0
        assert ran.out.startswith("ul ")

    def test_help_of_train_names_every_loss(self, ul):
        import uncertainty_loss

        ran = ul("train", "--help")
        assert ran.code == 0
        assert all(f"{name}:" in ran.out for name in uncertainty_loss.loss_names())

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["frobnicate"], "No such command 'frobnicate'"),
            (["score"], "Missing argument 'MODEL'"),
            (["train", "--image-size", "x"], "Invalid value for '--image-size'"),
            (["train", "--nonsense"], "No such option"),
        ],
    )
    def test_wrong_usage_is_one_line(self, ul, words, expected):
        ran = ul(*words)
        assert ran.code == 2
        assert expected in ran.error_line
        assert "--help'" in ran.error_line

    def test_debug_shows_the_traceback(self):
        done = process("info", "missing.pt", env={**os.environ, "UL_DEBUG": "1"})
        assert done.returncode == 1
        assert "Traceback" in done.stderr


class TestUnexpected:
    """What no command expects, raised by one."""

    @pytest.fixture
    def failing(self, ul, monkeypatch):
        def run(error):
            def fail(path):
                raise error

            monkeypatch.setattr("ulcli.commands.info.info", fail)
            return ul("info", "m.pt")

        return run

    def test_a_bug_keeps_its_traceback(self, failing):
        ran = failing(RuntimeError("never thought of"))
        assert ran.code == 70
        assert ran.err.startswith("Traceback")
        assert ran.err.endswith("RuntimeError: never thought of\n")

    @pytest.mark.parametrize(
        "error",
        [
            type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            MemoryError("Unable to allocate 334. GiB"),
        ],
    )
    def test_out_of_memory(self, failing, error):
        ran = failing(error)
        assert ran.code == 2
        assert ran.error_line == "ul: out of memory; use a smaller --batch-size, --image-size or --bootstrap"

    @pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 2), (errno.EIO, 70)])
    def test_a_full_disk_behind_standard_output(self, failing, number, code, monkeypatch):
        monkeypatch.setattr(sys, "stdout", before := sys.stdout)  # restored afterwards
        ran = failing(OSError(number, "what the system says"))
        if code == 2:
            assert sys.stdout is not before  # what is left in the buffer must not fail again
            sys.stdout.close()
        assert ran.code == code
        assert ("cannot write to standard output: no space left on device" in ran.err) is (code == 2)

    def test_an_interrupt_is_told(self, failing):
        ran = failing(KeyboardInterrupt())
        assert (ran.code, ran.error_line) == (130, "ul: interrupted")


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("utf-8", b"caf\xe9 \xc3\xbc"), ("UTF8", b"caf\xe9 \xc3\xbc"), ("ascii", rb"caf\udce9 \xfc")],
)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_names_leave_in_the_bytes_that_they_have(monkeypatch, name, encoding, written):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, encoding=encoding))
    app._prepare_streams()
    getattr(sys, name).write(os.fsdecode(b"caf\xe9") + " \xfc")
    getattr(sys, name).flush()
    assert raw.getvalue() == written


class TestTrain:
    def test_writes_a_model_and_a_table(self, ul, tmp_path):
        ran = ul("train", "--loss", "evidential", "-o", tmp_path / "m.pt")
        assert ran.code == 0
        assert (tmp_path / "m.pt").is_file()
        words = (
            "accuracy",
            "nll",
            "ece",
            "adaptive_ece",
            "classwise_ece",
            "before",
            "uncalibrated",
            "after",
            "seconds",
        )
        assert all(word in ran.out for word in words)
        assert f"wrote {tmp_path / 'm.pt'}" in ran.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pt"]

    def test_json(self, ul, tmp_path):
        ran = ul("train", "-o", tmp_path / "m.pt", "-f", "json", "-q")
        result = json.loads(ran.out)
        assert ran.err == ""
        assert result["after"]["accuracy"] > 0.9
        assert result["uncalibrated"]["accuracy"] == result["after"]["accuracy"]
        assert result["uncalibrated"]["nll"] != result["after"]["nll"]
        assert result["uncalibrated"]["ece"] > result["after"]["ece"]
        assert result["images"] == 1078

    def test_same_seed_same_weights_to_the_bit(self, ul, tmp_path):
        for name, seed in (("a", 3), ("b", 3), ("c", 4)):
            assert ul("train", "-o", tmp_path / name, "--seed", seed, "--no-cache").code == 0
        a, b, c = (torch.load(tmp_path / name, weights_only=True)["head"]["weight"] for name in "abc")
        assert torch.equal(a, b)
        assert not torch.equal(a, c)

    def test_fits_its_own_model_again(self, ul, model, tmp_path):
        ran = ul("train", model, "--data", "digits", "--loss", "evidential", "-o", tmp_path / "again.pt")
        assert ran.code == 0
        assert torch.load(tmp_path / "again.pt", weights_only=True)["loss"]["name"] == "evidential"

    def test_a_model_knows_its_own_network(self, ul, model, tmp_path):
        ran = ul("train", model, "--data", "digits", "--image-size", "16", "-o", tmp_path / "m.pt")
        assert ran.code == 2
        assert "leave out --arch" in ran.error_line

    def test_does_not_replace_the_checkpoint(self, ul, tmp_path):
        checkpoint = shutil.copy(sample_checkpoint(), tmp_path / "net.pt")
        ran = ul("train", checkpoint, "--data", "digits", "-o", checkpoint)
        assert ran.code == 2
        assert "which is read; choose another name" in ran.error_line

    def test_held_out_classes_are_the_near_set(self, ul, tmp_path):
        words = ["--hold-out", "3", "--hold-out", "8", "--target-accuracy", "0.9", "-o", tmp_path / "m.pt"]
        assert ul("train", *words, "-q").code == 0
        ran = ul("evaluate", tmp_path / "m.pt", "--shift", "blur:2", "--bootstrap", "40", "-f", "json")
        result = json.loads(ran.out)
        assert ran.code == 0
        near = result["ood"]["held-out 3, 8"]
        assert near["kind"] == "near"
        assert near["scores"]["vacuity"]["auroc"] > near["scores"]["head_vacuity"]["auroc"]
        assert result["shift"]["blur:2"]["metrics"]["accuracy"]["value"] > 0.5
        assert "mean AUROC" in result["verdict"]
        low, high = near["bounds"]["vacuity"]["auroc"]
        assert low <= near["scores"]["vacuity"]["auroc"] <= high

    def test_evidence_from_the_head(self, ul, tmp_path, images):
        assert ul("train", "--evidence-from", "head", "-o", tmp_path / "m.pt", "-q").code == 0
        content = torch.load(tmp_path / "m.pt", weights_only=True)
        assert content["loss"]["reg_factor"] > 0
        rows = records(ul("score", tmp_path / "m.pt", images, "-f", "csv", "--alpha").out)
        assert all(float(row[f"alpha_{k}"]) <= 1 + np.exp(10) + 1 for row in rows for k in range(10))

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["--loss", "maxnrom"], "unknown loss 'maxnrom'; did you mean 'maxnorm'?"),
            (["x.pth"], "no such file: 'x.pth'"),
            (["--arch", "resnet81", "--data", "digits"], "unknown architecture 'resnet81'; did you mean 'resnet18'"),
            (["--data", "digitz"], "unknown data set 'digitz'; did you mean 'digits'?"),
            (["--data", "cifar10"], "--data-root"),
            (["--data", "noise"], "no labels"),
            (["--data", "nowhere/"], "no such file or folder: 'nowhere/'"),
            (["--flag-rate", "3"], "--flag-rate is 3"),
            (["--mean", "a,b"], "--mean is 'a,b'"),
            (["--mean", "1,2"], "--mean has 2 values"),
            (["--std", "0"], "expected a positive std"),
            (["--image-size", "1000000"], "resize <= 8192"),
            (["--device", "abacus"], "device 'abacus' cannot be used"),
            (["--reg-factor", "inf"], "--reg-factor is inf"),
            (["--seed", "99999999999999999999999"], "--seed"),
            (["-f", "csv"], "use --format table or json or jsonl"),
            (["--data", "digits:all"], "nothing to validate with"),
            (["--data", "digits:train", "--val", "digits:all"], "would promise too much"),
            (["--data", "digits", "--val", "digits:train"], "would promise too much"),
            (["--hold-out", "eleven"], "unknown class 'eleven'"),
            ([word for k in range(9) for word in ("--hold-out", k)], "too few classes to fit on (1)"),
            ([word for k in range(10) for word in ("--hold-out", k)], "too few classes to fit on (0)"),
            (["--target-accuracy", "98"], "--target-accuracy is 98"),
            (["--evidence-from", "densty"], "'--evidence-from': 'densty' is not one of 'density', 'head'"),
            (["--evidence-from", "head", "--loss", "belief-matching"], "vacuity is 0 for every image"),
            (["-o", "nowhere/m.pt"], "there is no directory 'nowhere'"),
            (["-o", "."], "is a directory"),
        ],
    )
    def test_misuse(self, ul, words, expected, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        ran = ul("train", *words)
        assert ran.code == 2
        assert expected in ran.error_line
        assert not list(tmp_path.iterdir())

    def test_checkpoint_without_data_or_arch(self, ul, tmp_path):
        torch.save({"weight": torch.zeros(2, 3)}, tmp_path / "x.pth")
        assert "--arch" in ul("train", tmp_path / "x.pth", "--data", "digits").error_line
        assert "--data" in ul("train", sample_checkpoint()).error_line

    def test_checkpoint_of_another_network(self, ul, tmp_path):
        ran = ul("train", sample_checkpoint(), "--arch", "resnet18", "--data", "digits", "-o", tmp_path / "m.pt")
        assert ran.code == 2
        assert "102 missing (first: 'conv1.weight')" in ran.error_line

    def test_pickle_that_runs_code_is_refused(self, ul, tmp_path):
        class Bomb:
            def __reduce__(self):
                return os.system, (f"touch {tmp_path / 'exploded'}",)

        for name, save in (("new.pth", torch.save), ("old.pth", lambda x, f: f.write_bytes(pickle.dumps(x)))):
            save({"state_dict": Bomb()}, tmp_path / name)
            for words in (
                ["train", tmp_path / name, "--arch", "resnet18", "--data", "digits"],
                ["info", tmp_path / name],
            ):
                ran = ul(*words)
                assert ran.code == 2
                assert "wants to run code" in ran.error_line
                assert "system" in ran.error_line
        assert not (tmp_path / "exploded").exists()

    def test_classes_that_differ(self, ul, model, tmp_path):
        for name in ("cat", "dog"):
            for index in range(5):
                (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), index).save(tmp_path / "pets" / name / f"{index}.png")
        ran = ul("train", model, "--data", tmp_path / "pets", "-o", tmp_path / "m.pt")
        assert ran.code == 2
        assert "'cat' and 'dog'" in ran.error_line or "'cat', 'dog'" in ran.error_line
        ran = ul("evaluate", model, "--data", tmp_path / "pets")
        assert ran.code == 2
        assert "'cat', 'dog' unknown" in ran.error_line

    def test_unwritable_output_fails_before_the_work(self, tmp_path):
        if os.geteuid() == 0:
            pytest.skip("root may write anywhere")
        tmp_path.chmod(0o500)
        started = time.perf_counter()
        done = process("train", "-o", tmp_path / "m.pt")
        assert done.returncode == 2
        assert "permission denied" in done.stderr.lower()
        assert time.perf_counter() - started < 10

    def test_own_network_in_the_working_directory(self, tmp_path):
        (tmp_path / "mine.py").write_text(
            "from torch import nn\n"
            "def net():\n"
            "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),\n"
            "                         nn.Linear(16, 7), nn.LogSoftmax(1))\n"
        )
        script = "import torch, mine; torch.manual_seed(0); torch.save(mine.net().state_dict(), 'net.pth')"
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
        words = ["net.pth", "--arch", "mine:net", "--data", "digits", "--image-size", 8, "--mean", 0.3, "--std", 0.4]
        done = process("train", *words, "--grayscale", "-f", "json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        content = torch.load(tmp_path / "model.pt", weights_only=True)
        assert content["transform"]["mean"] == [0.3]
        assert content["transform"]["crop"] == 8
        assert content["backbone"]["head"] == "4"
        words = ["score", "model.pt", sample_models() / "images", "-f", "csv"]
        refused = process(*words, cwd=tmp_path)
        assert refused.returncode == 2
        assert "--trust-code" in refused.stderr
        done = process(*words, "--trust-code", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(records(done.stdout)) == 12


class TestEvaluate:
    def test_json_has_the_documented_shape(self, ul, model):
        ran = ul("evaluate", model, "--format", "json")
        assert ran.code == 0
        result = json.loads(ran.out)
        assert result["data"] == "digits:test"
        assert result["n"] == 359
        assert set(result["metrics"]) >= {"accuracy", "nll", "brier", "ece"}
        assert all(set(figure) == {"value", "low", "high"} for figure in result["metrics"].values())
        assert set(result["ood"]) == {"noise", "photos"}
        for strange in result["ood"].values():
            assert strange["n"] == 500
            assert {"vacuity", "max_probability", "mutual_information"} <= set(strange["scores"])
            for figures in strange["scores"].values():
                assert set(figures) == {"auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_in"}
                assert all(0 <= value <= 1 for value in figures.values())

    def test_accuracy_within_a_point_of_the_checkpoint(self, ul, model):
        result = json.loads(ul("evaluate", model, "-f", "json").out)
        assert result["metrics"]["accuracy"]["value"] >= result["baseline"]["accuracy"]["value"] - 0.01

    def test_csv_says_the_same(self, ul, model, tmp_path):
        document = json.loads(ul("evaluate", model, "-f", "json").out)
        ran = ul("evaluate", model, "-o", tmp_path / "figures.csv")
        assert ran.code == 0
        assert document["verdict"] in ran.err
        rows = records((tmp_path / "figures.csv").read_text())
        values = {(row["set"], row["score"], row["metric"]): float(row["value"]) for row in rows}
        assert values["digits:test", "head", "accuracy"] == document["metrics"]["accuracy"]["value"]
        assert values["noise", "vacuity", "auroc"] == document["ood"]["noise"]["scores"]["vacuity"]["auroc"]

    def test_requirements_decide_the_exit_code(self, ul, model):
        ran = ul("evaluate", model, "--require", "accuracy>=0.9", "--require", "ood_auroc>1")
        assert ran.code == 1
        assert "requirement not met: ood_auroc>1, measured" in ran.err
        assert "accuracy>=0.9," not in ran.err
        assert ul("evaluate", model, "--require", "accuracy>=0.9").code == 0

    def test_unknown_requirement(self, ul, model):
        assert "did you mean 'accuracy'" in ul("evaluate", model, "--require", "acuracy>1").error_line

    @pytest.mark.parametrize("resamples", [1, 2, 39])
    def test_resamples_too_few_for_an_interval(self, ul, model, resamples):
        ran = ul("evaluate", model, "--bootstrap", resamples)
        assert ran.code == 2
        assert f"--bootstrap is {resamples}, expected 40 resamples or more, or 0 for no" in ran.error_line

    @pytest.mark.parametrize(("resamples", "bounded"), [(0, False), (40, True)])
    def test_resamples(self, ul, model, resamples, bounded):
        figure = json.loads(ul("evaluate", model, "--bootstrap", resamples, "-f", "json").out)["metrics"]["nll"]
        assert bounded is (figure["low"] is not None)
        assert not bounded or figure["low"] < figure["value"] < figure["high"]

    def test_strange_folder_with_a_corrupt_image(self, ul, model, images):
        (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
        ran = ul("evaluate", model, "--ood", images, "-f", "json")
        assert ran.code == 2
        assert json.loads(ran.out)["ood"][str(images)]["n"] == 12
        assert "1 of 13 images" in ran.err


class TestScore:
    def test_csv_rows(self, ul, model, images):
        ran = ul("score", model, images, "-f", "csv")
        rows = records(ran.out)
        assert ran.code == 0
        assert ran.out.splitlines()[0].split(",") == ROW
        assert [row["path"] for row in rows] == sorted(str(path) for path in images.iterdir())
        assert all(row["predicted"] in "0123456789" and row["error"] == "" for row in rows)
        assert "12 images" in ran.err

    def test_formats_agree(self, ul, model, images):
        by_csv = records(ul("score", model, images, "-f", "csv").out)
        by_json = json.loads(ul("score", model, images, "-f", "json").out)
        by_lines = [json.loads(line) for line in ul("score", model, images, "-f", "jsonl").out.splitlines()]
        assert by_json == by_lines
        for flat, typed in zip(by_csv, by_json, strict=True):
            assert float(flat["vacuity"]) == typed["vacuity"]
            assert flat["flagged"] == str(typed["flagged"]).lower()
            assert float(flat["typicality"]) == typed["typicality"]

    def test_batch_size_does_not_matter(self, ul, model, images):
        one, many = (records(ul("score", model, images, "-f", "csv", "--alpha", "-b", size).out) for size in (1, 64))
        words = {"path", "predicted", "flagged", "reason", "error"}
        for a, b in zip(one, many, strict=True):
            assert {name: a[name] for name in words} == {name: b[name] for name in words}
            for name in a.keys() - words:
                assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-5, abs=1e-5)

    def test_probabilities_and_alpha(self, ul, model, images):
        (row,) = records(ul("score", model, images / "digit_3.png", "-f", "csv", "--probs", "--alpha").out)
        p = np.array([float(row[f"p_{k}"]) for k in range(10)])
        alpha = np.array([float(row[f"alpha_{k}"]) for k in range(10)])
        assert p.sum() == pytest.approx(1)
        np.testing.assert_allclose(alpha / alpha.sum(), p, rtol=1e-6)
        assert row["predicted"] == str(p.argmax())
        assert float(row["confidence"]) == pytest.approx(p.max())
        assert float(row["vacuity"]) == pytest.approx(10 / alpha.sum())

    def test_corrupt_image_keeps_its_row(self, ul, model, images):
        (images / "broken.png").write_bytes((images / "digit_0.png").read_bytes()[:60])
        ran = ul("score", model, images, "-f", "csv")
        assert ran.code == 2
        rows = {Path(row["path"]).name: row for row in records(ran.out)}
        assert len(rows) == 13
        assert rows["broken.png"]["error"]
        assert rows["broken.png"]["vacuity"] == ""
        assert sum(bool(row["error"]) for row in rows.values()) == 1

    def test_table_is_sorted_and_limited(self, ul, model, images):
        ran = ul("score", model, images, "--top", "3")
        assert ran.code == 0
        lines = [line for line in ran.out.splitlines() if ".png" in line]
        vacuity = [float(line.split()[3]) for line in lines]
        assert len(lines) == 3
        assert vacuity == sorted(vacuity, reverse=True)

    def test_gate(self, ul, model, images):
        ran = ul("score", model, images, "--flag-on", "vacuity>0", "--max-flagged", "11", "-f", "csv")
        assert ran.code == 1
        assert len(records(ran.out)) == 12
        assert ul("score", model, images, "--flag-on", "vacuity>0", "--max-flagged", "12").code == 0
        assert ul("score", model, images, "--flag-on", "vacuity>0", "--max-flagged", "99%").code == 1
        assert ul("score", model, images, "--flag-on", "vacuity>0", "--max-flagged", "100%").code == 0
        assert "--max-flagged is 'x'" in ul("score", model, images, "--max-flagged", "x").error_line

    def test_output_file_by_suffix(self, ul, model, images, tmp_path):
        assert ul("score", model, images, "-o", tmp_path / "rows.jsonl", "-q").out == ""
        assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 12
        assert "--format" in ul("score", model, images, "-o", tmp_path / "rows.xyz").error_line

    def test_standard_input_and_manifest(self, model, images):
        listing = f"{images / 'blank.png'}\n{images / 'missing.png'}\n"
        done = process("score", model, "-", "-f", "csv", input=listing)
        assert done.returncode == 2
        assert [row["error"] for row in records(done.stdout)] == ["", "no such file"]
        (images / "list.csv").write_text("path,label\ndigit_3.png,3\nnoise.png,none\n")
        done = process("score", model, images / "list.csv", "-f", "csv")
        rows = records(done.stdout)
        assert done.returncode == 0
        assert list(rows[0])[:2] == ["path", "label"]
        assert [row["label"] for row in rows] == ["3", "none"]

    def test_named_set_has_labels(self, ul, model):
        rows = records(ul("score", model, "digits", "-f", "csv").out)
        assert len(rows) == 359
        right = np.mean([row["label"] == row["predicted"] for row in rows])
        assert right > 0.95

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["missing.pt", "x.png"], "no such file: 'missing.pt'"),
            (["MODEL", "missing.png"], "no such file or folder: 'missing.png'"),
            (["MODEL", "EMPTY"], "no images in"),
            (["TEXT", "x.png"], "is a text file"),
            (["TRUNCATED", "x.png"], "is truncated"),
            (["NEWER", "x.png"], "format version 99"),
            (["CHECKPOINT", "x.png"], "is no model of this tool"),
            (["MODEL", "noise", "--flag-on", "vacuty>1"], "did you mean 'vacuity'"),
            (["MODEL", "noise", "--flag-on", "vacuity"], "NAME OP NUMBER"),
        ],
    )
    def test_misuse(self, ul, model, words, expected, tmp_path):
        places = {name: tmp_path / name for name in ("EMPTY", "TEXT", "TRUNCATED", "NEWER")}
        places |= {"MODEL": model, "CHECKPOINT": sample_checkpoint()}
        places["EMPTY"].mkdir()
        places["TEXT"].write_text("hello")
        places["TRUNCATED"].write_bytes(model.read_bytes()[:50_000])
        torch.save({**torch.load(model, weights_only=True), "version": 99}, places["NEWER"])
        ran = ul("score", *(places.get(word, word) for word in words))
        assert ran.code == 2
        assert expected in ran.error_line

    def test_model_that_names_code_of_python_itself(self, ul, model, tmp_path):
        content = torch.load(model, weights_only=True)
        content["backbone"]["arch"] = "os:abort"
        torch.save(content, tmp_path / "evil.pt")
        ran = ul("score", tmp_path / "evil.pt", sample_models() / "images")
        assert ran.code == 2
        assert "'os:abort' is part of Python" in ran.error_line

    @pytest.mark.parametrize("words", [["info", "MODEL"], ["score", "MODEL", "noise"]])
    def test_tables_for_a_reader_that_has_gone(self, model, words):
        command = shlex.join(str(model) if word == "MODEL" else word for word in words)
        script = f"{shlex.quote(sys.executable)} -m ulcli {command} | true; exit ${{PIPESTATUS[0]}}"
        assert subprocess.run(["bash", "-c", script], timeout=120).returncode == 141

    def test_the_output_is_none_of_the_inputs(self, ul, model, tmp_path):
        copy, listed = tmp_path / "m.pt", tmp_path / "list.csv"
        copy.write_bytes(model.read_bytes())
        listed.write_text("path\nx.png\n")
        for words in (["score", copy, "noise", "-o", copy], ["score", copy, listed, "-o", listed]):
            ran = ul(*words, "-f", "csv")
            assert ran.code == 2
            assert "which is read; choose another name" in ran.error_line
        ran = ul("evaluate", copy, "-f", "json", "-o", copy)
        assert ran.code == 2
        assert copy.read_bytes() == model.read_bytes()
        assert listed.read_text() == "path\nx.png\n"

    def test_closed_pipe_is_quiet(self, model):
        command = f"'{sys.executable}' -m ulcli score '{model}' digits photos -f csv -q | head -1"
        command += "; echo ${PIPESTATUS[0]}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
        assert done.stdout.startswith("path,")
        assert done.stdout.splitlines()[-1] == "141"
        assert done.stderr == ""

    def test_full_and_closed_streams(self, model, images):
        command = f"'{sys.executable}' -m ulcli score '{model}' '{images}' -f csv"
        done = subprocess.run(["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert "no space left" in done.stderr
        assert "Traceback" not in done.stderr
        done = subprocess.run(["bash", "-c", f"{command} >&- 2>&-"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0

    def test_names_that_the_output_cannot_encode(self, model, images):
        (images / "digit_3.png").rename(images / "drei_ü_漢字.png")
        done = process("score", model, images, "-f", "csv", env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0
        assert "drei_\\xfc_" in done.stdout

    def test_prediction_sets(self, ul, model):
        rows = records(ul("score", model, "digits", "--sets", "0.9", "-f", "csv").out)
        covered = np.mean([row["label"] in row["set"].split("|") for row in rows])
        assert covered > 0.85
        assert all(row["predicted"] in row["set"].split("|") for row in rows)
        assert "--sets is 2" in ul("score", model, "digits", "--sets", "2").error_line
        assert "'lab' is not one of 'lac', 'aps'" in ul("score", model, "digits", "--set-method", "lab").error_line

    def test_too_few_validation_images_for_the_sets_are_told(self, ul, model, images):
        ran = ul("score", model, images / "digit_5.png", "--sets", "0.999", "-q", "-f", "csv")
        assert "the 360 validation images of the model are too few for --sets 0.999" in ran.err
        assert "validate with 999 or more" in ran.err
        assert records(ran.out)[0]["set"] == "0|1|2|3|4|5|6|7|8|9"
        assert ul("score", model, images / "digit_5.png", "--sets", "0.997", "-q", "-f", "csv").err == ""

    def test_strange_images_are_flagged_and_plain_digits_are_not(self, ul, model, images):
        rows = {Path(row["path"]).stem: row for row in records(ul("score", model, images, "-f", "csv").out)}
        strange = {"blank", "inverted_2", "letter_like_scribble", "noise", "photograph_crop"}
        assert {rows[name]["reason"] for name in strange} == {"unfamiliar"}
        assert {row["flagged"] for name, row in rows.items() if name.startswith("digit_")} == {"false"}

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_interrupted_leaves_the_old_file(self, model, tmp_path, number, code):
        output = tmp_path / "rows.csv"
        output.write_text("old")
        listing = tmp_path.parent / f"{number}.txt"
        listing.write_text(f"{sample_models() / 'images' / 'digit_0.png'}\n" * 200_000)
        command = [sys.executable, "-m", "ulcli", "score", str(model), "-", "-o", str(output)]
        with listing.open() as names:
            # What starts the tests may ignore SIGINT, as shells do for jobs in the background.
            running = subprocess.Popen(
                command,
                stdin=names,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)  # until the temporary file is there, the work has not begun
        running.send_signal(number)
        try:
            _, err = running.communicate(timeout=60)
        finally:
            running.kill()
        assert running.returncode == code
        assert "Traceback" not in err
        assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
        assert output.read_text() == "old"


class TestInfo:
    def test_table_and_json(self, ul, model):
        ran = ul("info", model)
        assert ran.code == 0
        assert "maxnorm" in ran.out
        result = json.loads(ul("info", model, "-f", "json").out)
        assert result["classes"] == list("0123456789")
        assert result["provenance"]["seed"] == 0
        assert result["architecture"] == "ulcli.model.sample:digits_cnn"

    def test_does_not_load_the_network(self, model):
        script = (
            "import sys\nfrom pathlib import Path\nfrom ulcli.commands.info import info\n"
            f"info(Path({str(model)!r}))\n"
            "assert 'torchvision' not in sys.modules and 'sklearn' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", script], check=True)


def test_class_order_of_the_validation_data_does_not_matter(ul, tmp_path):
    """A manifest sorts its classes as texts; here that is another order than the model's own."""
    from ulcli.data.catalog import DataName, Places, labelled_set

    digits = labelled_set(DataName("digits"), "test", Places())
    rows = ["path,label"]
    for index in range(len(digits)):
        digits.load(index).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{digits.label_name(index)}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert ul("train", "-o", tmp_path / "m.pt", "-q").code == 0
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    order = torch.arange(9, -1, -1)
    content["classes"] = content["classes"][::-1]
    for part in ("head", "baseline"):
        content[part] |= {"weight": content[part]["weight"][order], "bias": content[part]["bias"][order]}
    torch.save(content, tmp_path / "reversed.pt")
    figures = [
        json.loads(ul("evaluate", tmp_path / name, "--data", tmp_path / "list.csv", "-f", "json", "-q").out)["metrics"]
        for name in ("m.pt", "reversed.pt")
    ]
    assert figures[0] == figures[1]
    words = ["--data", "digits", "--val", tmp_path / "list.csv", "-f", "json", "-q"]
    again = json.loads(ul("train", tmp_path / "reversed.pt", *words, "-o", tmp_path / "again.pt").out)
    assert again["before"]["accuracy"] > 0.9
    assert again["after"]["accuracy"] > 0.9
