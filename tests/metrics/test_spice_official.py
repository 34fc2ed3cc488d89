"""The way to the official SPICE program, with a small Java program of our own in its place; its models cannot be had here."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seqrl.metrics.spice_official import JAR_VARIABLE, SpiceOfficial

LIBRARIES = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def folder_of_jars(folder: Path) -> Path:
    (folder / "lib").mkdir(exist_ok=True)
    for path in (folder / "spice-1.0.jar", *(folder / "lib" / name for name in LIBRARIES)):
        with zipfile.ZipFile(path, "w") as jar:
            jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\nMain-Class: OneWordSpice\n")
    return folder / "spice-1.0.jar"


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    if shutil.which("java") is None or shutil.which("javac") is None:
        pytest.skip("needs java and javac")
    folder = tmp_path_factory.mktemp("classes")
    subprocess.run(["javac", "-d", str(folder), str(Path(__file__).with_name("OneWordSpice.java"))], check=True)
    return folder


@pytest.fixture
def jar(classes, tmp_path):
    path = folder_of_jars(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        for compiled in classes.iterdir():
            archive.write(compiled, compiled.name)
    return path


@pytest.fixture
def spice(jar):
    metric = SpiceOfficial(jar=str(jar), heap="64m", timeout_s=60)
    yield metric
    metric.close()


REFERENCES = [["a dog runs"], ["a cat", "two cats"]]


@pytest.mark.slow
def test_one_process_scores_all_that_is_new(spice):
    np.testing.assert_allclose(spice.score(["a dog", "a big black cat"], REFERENCES), [1 / 2, 1 / 4])
    process = spice._state.program._process
    np.testing.assert_allclose(spice.score(["a", "a dog", "", "a"], [*REFERENCES, ["x"], ["a dog runs"]]), [1, 1 / 2, 0, 1])
    assert spice.corpus(["a dog", "a"], REFERENCES) == pytest.approx(3 / 4)
    prepared = spice.prepare_words([[["a", "dog", "runs"]], [["x"]]])
    np.testing.assert_allclose(prepared.score([["a"], [], ["a", "b", "c", "d", "e"]], [0, 1, 0]), [1, 0, 1 / 5])
    assert spice._state.program._process is process and process.poll() is None
    again = SpiceOfficial(jar=spice.jar, heap="64m", timeout_s=60)  # as the next evaluation makes it
    assert again.score(["a dog"], REFERENCES[:1]).tolist() == [1 / 2] and again._state.program._process is process
    # the number of calls, which only one process knows: four above that had something new, and what is known is not asked again
    np.testing.assert_allclose(spice.score(["count it"], [["x"]]), [0.5])
    np.testing.assert_allclose(spice.score(["count it"], [["x"]]), [0.5])
    np.testing.assert_allclose(spice.score(["count it", "a"], [["y"], ["a dog runs"]]), [0.6, 1])
    spice.close()
    assert process.poll() is not None


@pytest.mark.slow
def test_what_goes_wrong_is_said_and_the_next_call_works(spice):
    for text, said in [
        ("crash", "spice-1.0.jar failed: java.lang.IllegalStateException: no graph for this"),
        ("die", "ended with code 3: java.lang.OutOfMemoryError: heap"),
        ("garbage", "expected a list of image_id and scores, got '{\"image'"),
    ]:
        with pytest.raises(ChildProcessError, match=said.replace("{", r"\{")):
            spice.score([text, "a"], [["x"], ["x"]])
        np.testing.assert_allclose(spice.score([f"{len(text)} b"], [["x"]]), [1 / 2])
    np.testing.assert_allclose(spice.score(["open"], [["x"]]), [0.0])  # no number


@pytest.mark.slow
def test_a_program_that_ends_itself_or_says_nothing(jar):
    metric = SpiceOfficial(jar=str(jar), heap="64m", timeout_s=60)
    np.testing.assert_allclose(metric.score(["leave now"], [["x"]]), [1 / 2])
    np.testing.assert_allclose(metric.score(["leave"], [["x"]]), [1])
    hasty = SpiceOfficial(jar=str(jar), heap="64m", timeout_s=3)
    with pytest.raises(TimeoutError, match="gave no answer in 3 s"):
        hasty.score(["hang"], [["x"]])
    assert hasty._state.program._process is None


@pytest.mark.slow
def test_without_javac_each_call_has_a_process(jar, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(shutil.which("java"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    metric = SpiceOfficial(jar=str(jar), heap="64m", cache_size=1)
    np.testing.assert_allclose(metric.score(["count", "count it"], [["x"], ["x"]]), [0.1, 0.1])
    assert len(metric._state.kept) == 1
    np.testing.assert_allclose(metric.score(["count two"], [["x"]]), [0.1])
    with pytest.raises(ChildProcessError, match="ended with code 1: .*IllegalStateException"):
        metric.score(["crash"], [["x"]])


def test_missing_or_cut_jars_say_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv(JAR_VARIABLE, str(tmp_path / "spice-1.0.jar"))
    with pytest.raises(FileNotFoundError, match="found nothing there: take spice-1.0.jar.*lib folder.*SEQRL_SPICE_JAR") as said:
        SpiceOfficial().score(["a"], [["b"]])
    assert "\n" not in str(said.value)
    folder_of_jars(tmp_path)
    models = tmp_path / "lib" / LIBRARIES[1]
    whole = models.read_bytes()
    models.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match=f"{LIBRARIES[1]} is no whole jar .*fetch it again"):
        SpiceOfficial().score(["a"], [["b"]])
    models.write_bytes(whole)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="needs Java: expected `java` on the PATH"):
        SpiceOfficial().score(["a"], [["b"]])


def test_bad_input_is_refused_before_anything_is_started():
    metric = SpiceOfficial(jar="nowhere")
    for hypotheses, references, said in [
        (["a"], [], "one list of references a hypothesis"),
        (["a"], [[]], "item 0 has no references"),
        (["a"], [[" "]], "reference 0 of item 0 is empty"),
        (["a"], ["a dog"], "the references of item 0 are one string"),
        ("a", [["a"]], "the hypotheses are one string"),
    ]:
        with pytest.raises(ValueError, match=said):
            metric.score(hypotheses, references)
    prepared = metric.prepare_words([[["a"]]])
    with pytest.raises(ValueError, match="items must lie in 0..0; got 1..1"):
        prepared.score([["a"]], [1])
    with pytest.raises(ValueError, match="one item a hypothesis"):
        prepared.score([["a"]], [])
    assert metric.score([""], [["a"]]).tolist() == [0.0]  # nothing to ask
    assert metric.score([], []).shape == (0,)
