"""A Java program that answers many requests: one process that stays where javac is there, else a process for each request."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_DRIVER = Path(__file__).with_name("SpiceDriver.java")
_ANSWER = "seqrl "
# Libraries of the time of Java 8 look into Java's own classes, which newer ones forbid. Java 8 does not read this variable.
_OPENED = ("java.lang", "java.lang.reflect", "java.io", "java.math", "java.net", "java.nio", "java.text", "java.time", "java.util")
_OPTIONS = " ".join(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in (*_OPENED, "java.util.concurrent", "sun.nio.ch"))


class JavaProgram:
    """Runs the main method of a jar again and again.

    Args:
        jar: with a Main-Class in its manifest; what its Class-Path names is found beside it.
        heap: the largest memory of the process, as Java's -Xmx takes it, for instance "8G".
        timeout_s: after so many seconds without an answer the process is ended.
    """

    def __init__(self, jar: Path, *, heap: str, timeout_s: float) -> None:
        self.jar, self.heap, self.timeout_s = jar, heap, timeout_s
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._heard = 0  # how much of what the process says belongs to earlier requests

    @property
    def folder(self) -> Path:
        """Give a folder for the program's files, which goes with this object."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="seqrl_java_")
        return Path(self._folder.name)

    def run(self, arguments: Sequence[str]) -> None:
        """Run the main method with these arguments, which hold no tabs and no line breaks.

        Raises:
            FileNotFoundError: without Java.
            TimeoutError: where the program says nothing in time.
            ChildProcessError: where it fails, or ends with another code than 0.
        """
        with self._lock:
            java = shutil.which("java")
            if java is None:
                raise FileNotFoundError(
                    f"{self.jar.name} needs Java: expected `java` on the PATH, found none; install a Java runtime (8 or newer)"
                )
            if shutil.which("javac") is None:
                self._run_once(java, arguments)
            else:
                self._ask(java, arguments)

    def close(self) -> None:
        """End the process; a later request starts another."""
        with self._lock:
            self._end()

    def _run_once(self, java: str, arguments: Sequence[str]) -> None:
        self._heard = 0
        with self._said_path().open("w", encoding="utf-8") as said:
            command = [java, f"-Xmx{self.heap}", "-jar", str(self.jar), *arguments]
            try:
                code = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=_environment(), timeout=self.timeout_s
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise self._silent() from error
        if code != 0:
            raise ChildProcessError(f"{self.jar.name} ended with code {code}{self._said()}")

    def _ask(self, java: str, arguments: Sequence[str]) -> None:
        process = self._started(java)
        self._heard = self._said_path().stat().st_size
        assert process.stdin is not None
        try:
            process.stdin.write("\t".join(arguments) + "\n")
            process.stdin.flush()
            answer = self._answers.get(timeout=self.timeout_s)
        except queue.Empty as error:
            self._end()
            raise self._silent() from error
        except OSError:
            answer = None  # it ended; why is asked below
        if answer is None:
            code = process.wait()
            self._end()
            if code != 0:  # a program may end itself when it has done its work
                raise ChildProcessError(f"{self.jar.name} ended with code {code}{self._said()}")
        elif answer != f"{_ANSWER}done":
            raise ChildProcessError(f"{self.jar.name} {answer.removeprefix(_ANSWER)}")

    def _started(self, java: str) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        classes = self.folder / "classes"
        if not classes.is_dir():
            compiled = subprocess.run(["javac", "-d", str(classes), str(_DRIVER)], capture_output=True, text=True, check=False)
            if compiled.returncode != 0:
                raise ChildProcessError(
                    f"javac could not compile {_DRIVER.name}: {compiled.stderr.strip()[-500:]}; check which javac is on the PATH"
                )
        self._answers = queue.SimpleQueue()
        with self._said_path().open("w", encoding="utf-8") as said:
            self._process = subprocess.Popen(
                [java, f"-Xmx{self.heap}", "-cp", os.pathsep.join([str(classes), str(self.jar)]), "SpiceDriver", str(self.jar)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=_environment(),
                encoding="utf-8",
                errors="replace",
            )
        threading.Thread(target=_read, args=(self._process, self._answers), daemon=True).start()
        weakref.finalize(self, self._process.kill)
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with suppress(OSError):  # what was not written goes nowhere
                        stream.close()
            self._process = None

    def _said_path(self) -> Path:
        return self.folder / "said.txt"

    def _said(self) -> str:
        lines = self._said_path().read_bytes()[self._heard :].decode("utf-8", "replace").strip().splitlines()
        first = next((line for line in lines if "Exception" in line or "Error" in line), lines[-1] if lines else "")
        return f": {first.strip()[:300]}" if first else " and said nothing"

    def _silent(self) -> TimeoutError:
        return TimeoutError(
            f"{self.jar.name} gave no answer in {self.timeout_s:g} s and was ended{self._said()}; give it more time, more memory "
            f"(now {self.heap}) or fewer sentences a call"
        )


def _read(process: subprocess.Popen[str], answers: queue.SimpleQueue[str | None]) -> None:
    """Pass on the answers, leave out what else is printed, and say None at the end."""
    assert process.stdout is not None
    with suppress(ValueError):  # closed while it was read
        for line in process.stdout:
            if line.startswith(_ANSWER):
                answers.put(line.strip())
    answers.put(None)


def _environment() -> dict[str, str]:
    return os.environ | {"JDK_JAVA_OPTIONS": f"{os.environ.get('JDK_JAVA_OPTIONS', '')} {_OPTIONS}".strip()}


def require_jar(path: Path, where_from: str) -> None:
    """Refuse a jar that is not there or that was cut short.

    Raises:
        FileNotFoundError: where it is missing.
        ValueError: where its directory, which stands at its end, cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected {path}, found nothing there: {where_from}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no whole jar ({path.stat().st_size} bytes): fetch it again: {where_from}")
