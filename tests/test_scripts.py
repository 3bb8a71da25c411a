"""bin/setup and bin/llamadiv with a stand-in for Python and pip that writes down what it is asked; then the real wheel.

The scripts run in a copy of the tree, in a folder with a blank in its name, with a PATH that holds only what a test
puts there.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SCRIPTS = ["bin/setup", "bin/llamadiv", "bin/test", "bin/lint", ".ci/run"]
TOOLS = ["awk", "bash", "cat", "chmod", "cksum", "cp", "dirname", "env", "mkdir", "readlink", "rm", "tail", "touch"]

PYTHON = r"""#!/usr/bin/env bash
# Answers like a Python of version $FAKE_VERSION. Its environment "loads" llama_cpp once pip has installed it.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $1 == -I ]] && shift
case "$*" in
    --version) echo "Python ${FAKE_VERSION:-3.11.9}" ;;
    "-c import importlib.util"*) [[ -z $FAKE_NO_TORCH ]] ;;
    "-c import sys, urllib"*) [[ -z $FAKE_OFFLINE ]] ;;
    "-m llama_diversity.engines.llamacpp.selftest") [[ -e $here/works ]] || { echo "it finds 1.00 bits"; exit 1; } ;;
    "-m pip cache remove llama_cpp_python") touch "$here/emptied" ;;
    "-c import llama_cpp") [[ -e $here/loads ]] || { echo "OSError: no library"; exit 1; } ;;
    "-c "*)
        [[ -z $FAKE_REFUSES ]] || { echo "$FAKE_REFUSES"; exit 1; }
        [[ -e $here/home ]] && cat "$here/home" || echo "${FAKE_VERSION:-3.11.9} ${BASH_SOURCE[0]}"
        ;;
    "-m venv --clear "*)
        rm -rf "$4"
        mkdir -p "$4/bin"
        cp "${BASH_SOURCE[0]}" "$4/bin/python"
        echo "${FAKE_VERSION:-3.11.9} ${BASH_SOURCE[0]}" >"$4/bin/home"
        echo venv >>"$FAKE_LOG"
        ;;
    "-m pip --version") ;;
    "-m pip cache list "*) [[ -z $FAKE_CACHE ]] || echo /cache/llama.whl ;;
    "-m pip install "*)
        cat >/dev/null # pip may ask; what the user pipes to llamadiv is not for it
        shift 6 # -m pip install --no-compile --constraint FILE
        echo "pip $* [${CMAKE_ARGS}]" >>"$FAKE_LOG"
        [[ -z $FAKE_FAILS || $* != *$FAKE_FAILS* ]] || exit 1
        touch "$here/loads"
        case $FAKE_CACHE in
            broken) [[ ! -e $here/emptied ]] || touch "$here/works" ;; # until it is built anew
            hopeless) ;;
            *) touch "$here/works" ;;
        esac
        if [[ $* == *--editable* ]]; then
            printf '#!/usr/bin/env bash\necho "ran $*"; cat\n' >"$here/llamadiv"
            chmod +x "$here/llamadiv"
        fi
        ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""
LEFT_OUT = "-DLLAVA_BUILD=OFF -DLLAMA_ALL_WARNINGS=OFF -DCMAKE_PROJECT_INCLUDE='ROOT/bin/llama-cpp.cmake' "
CPU = f"-DGGML_METAL=off -DGGML_NATIVE=on {LEFT_OUT}"


class Machine:
    """A checkout in `folder`, and a PATH with a C++ compiler and the stand-in as python3.11."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "my checkout"
        self.path = folder / "path"
        self.log = folder / "log"
        self.environment = {"PATH": str(self.path), "HOME": str(folder), "FAKE_LOG": str(self.log)}
        self.environment["LLAMADIV_WHEELS"] = "none"  # whether one is looked for hangs on the processor
        self.path.mkdir()
        for tool in TOOLS:
            (self.path / tool).symlink_to(shutil.which(tool))
        self.command("uname", 'case $1 in -s) echo "${FAKE_SYSTEM:-Linux}" ;; -m) echo "${FAKE_CHIP:-x86_64}" ;; esac')
        self.command("c++")
        self.command("python3.11", PYTHON)
        for name in [*SCRIPTS, "pyproject.toml", "constraints.txt"]:
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.checkout / name)

    def command(self, name: str, text: str = "exit 0") -> None:
        """Put a command on the PATH."""
        target = self.path / name
        target.write_text(text if text.startswith("#!") else f"#!/usr/bin/env bash\n{text}\n")
        target.chmod(0o755)

    def run(self, script: str, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess:
        """Run a script of the checkout from another folder."""
        return subprocess.run(
            [str(self.checkout / script), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd="/",
            env={**self.environment, **environment},
        )

    def done(self) -> list[str]:
        """What venv and pip were asked since the last time."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.write_text("")
        return [line.replace(str(self.checkout), "ROOT") for line in lines]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


READY = "pip llama-cpp-python --no-deps --no-cache-dir --only-binary llama-cpp-python"
REST = "pip --editable ROOT[dev,docs,encoder,lab,view]"
TORCH = "pip torch --no-deps --extra-index-url https://download.pytorch.org/whl/cpu"
ANEW = "pip llama-cpp-python --force-reinstall --no-deps --no-cache-dir"
CPU_ANEW = "pip llama-cpp-python --force-reinstall --no-deps --no-binary llama-cpp-python"


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_can_be_run(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)


def test_ci_runs_what_a_person_runs():
    text = (ROOT / ".ci/run").read_text()
    assert "bin/lint" in text
    assert "bin/test" in text


def test_first_use_sets_up_and_keeps_stdout_for_the_result(machine):
    result = machine.run("bin/llamadiv", "sample", "two words", stdin="a prompt")
    assert (result.returncode, result.stdout) == (0, "ran sample two words\na prompt")
    assert "some 7 minutes of one processor core" in result.stderr
    assert machine.done() == ["venv", f"{REST} [{CPU}]"]


def test_torch_comes_without_cuda_where_there_is_none(machine):
    machine.run("bin/setup", FAKE_NO_TORCH="yes")
    assert machine.done() == ["venv", f"{TORCH} [{CPU}]", f"{REST} [{CPU}]"]


def test_torch_comes_from_pypi_where_its_cpu_build_cannot_be_had(machine):
    result = machine.run("bin/setup", FAKE_NO_TORCH="yes", FAKE_FAILS="--extra-index-url")
    assert result.returncode == 0
    assert machine.done()[-1] == f"{REST} [{CPU}]"


def test_torch_comes_from_pypi_on_a_mac(machine):
    machine.run("bin/setup", FAKE_NO_TORCH="yes", FAKE_SYSTEM="Darwin")
    assert not any(line.startswith("pip torch") for line in machine.done())


def test_nothing_happens_the_second_time(machine):
    machine.run("bin/setup")
    machine.done()
    again = machine.run("bin/llamadiv", "x")
    assert (again.returncode, again.stdout, again.stderr) == (0, "ran x\n", "")
    assert "nothing to do" in machine.run("bin/setup").stdout
    assert machine.done() == []


def test_setup_tells_what_it_does(machine):
    out = machine.run("bin/setup").stdout
    assert "making" in out
    assert "with Python 3.11.9" in out
    assert "llama.cpp for cpu (CMAKE_ARGS: " in out
    assert "+ " in out
    assert out.endswith("done. Next: bin/llamadiv --help\n")


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_changed_requirements_are_installed_without_another_build(machine, name):
    machine.run("bin/setup")
    machine.done()
    with (machine.checkout / name).open("a") as file:
        file.write("# changed\n")
    assert machine.run("bin/setup", "-q").returncode == 0
    assert machine.done() == [f"{REST} [{CPU}]"]


def test_interrupted_setup_is_completed_by_the_next_call(machine):
    result = machine.run("bin/setup", FAKE_FAILS="--editable")
    assert result.returncode == 1
    assert "setup: the installation failed; the lines above say why." in result.stderr
    assert machine.done() == ["venv", f"{REST} [{CPU}]"]
    assert machine.run("bin/llamadiv", "x").stdout == "ran x\n"
    assert machine.done() == [f"{REST} [{CPU}]"]


def test_half_made_environment_is_made_anew(machine):
    (machine.checkout / ".venv/bin").mkdir(parents=True)
    assert machine.run("bin/llamadiv", "x").stdout == "ran x\n"
    assert machine.done()[0] == "venv"


def test_moved_checkout_gets_a_new_environment(machine):
    machine.run("bin/setup")
    machine.done()
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("elsewhere"))
    assert machine.run("bin/llamadiv", "x").stdout == "ran x\n"
    assert machine.done()[0] == "venv"


GRAPHICS = {
    "cuda": (["nvcc", "nvidia-smi"], {}, f"-DGGML_CUDA=on -DGGML_NATIVE=on {LEFT_OUT}"),
    "metal": (
        ["xcode-select"],
        {"FAKE_SYSTEM": "Darwin", "FAKE_CHIP": "arm64"},
        f"-DGGML_METAL=on -DGGML_NATIVE=on {LEFT_OUT}",
    ),
    "vulkan": ([], {"LLAMADIV_ACCEL": "vulkan"}, f"-DGGML_VULKAN=on -DGGML_NATIVE=on {LEFT_OUT}"),
}


@pytest.mark.parametrize(("commands", "environment", "flags"), GRAPHICS.values(), ids=GRAPHICS.keys())
def test_build_for_what_the_machine_has_never_comes_from_the_cache(machine, commands, environment, flags):
    for name in commands:
        machine.command(name)
    result = machine.run("bin/setup", FAKE_CACHE="yes", **environment)
    assert result.returncode == 0
    assert machine.done() == ["venv", f"{ANEW} [{flags}]", f"{REST} [{flags}]"]


@pytest.mark.parametrize("commands", [["nvcc"], ["nvidia-smi"]], ids=["toolkit only", "driver only"])
def test_cuda_needs_both_toolkit_and_driver(machine, commands):
    for name in commands:
        machine.command(name)
    machine.run("bin/setup")
    assert machine.done() == ["venv", f"{REST} [{CPU}]"]


def test_intel_mac_is_built_for_its_processor(machine):
    machine.command("xcode-select")
    machine.run("bin/setup", FAKE_SYSTEM="Darwin")
    assert machine.done() == ["venv", f"{REST} [{CPU}]"]


def test_other_accelerator_is_built_once_and_then_kept(machine):
    machine.run("bin/setup")
    machine.done()
    vulkan = GRAPHICS["vulkan"][2]
    machine.run("bin/setup", LLAMADIV_ACCEL="vulkan")
    assert machine.done() == [f"{ANEW} [{vulkan}]", f"{REST} [{vulkan}]"]
    machine.run("bin/setup")  # without the variable, what is there stays
    machine.run("bin/setup", LLAMADIV_ACCEL="vulkan")
    assert machine.done() == []
    machine.run("bin/setup", LLAMADIV_ACCEL="cpu")
    assert machine.done() == [f"{CPU_ANEW} [{CPU}]", f"{REST} [{CPU}]"]


def test_interrupted_change_of_accelerator_is_repeated(machine):
    machine.run("bin/setup")
    result = machine.run("bin/setup", LLAMADIV_ACCEL="vulkan", FAKE_FAILS="--force-reinstall")
    assert result.returncode == 1
    assert "Without it: LLAMADIV_ACCEL=cpu bin/setup" in result.stderr
    machine.done()
    machine.run("bin/setup", LLAMADIV_ACCEL="vulkan")
    assert machine.done()[0].startswith(ANEW)


def test_after_a_failed_change_nobody_knows_what_is_installed(machine):
    machine.command("xcode-select")
    mac = GRAPHICS["metal"][1]
    machine.run("bin/setup", **mac)
    machine.run("bin/setup", LLAMADIV_ACCEL="vulkan", FAKE_FAILS="--force-reinstall", **mac)
    machine.done()
    machine.run("bin/setup", **mac)
    assert machine.done()[0] == f"{ANEW} [{GRAPHICS['metal'][2]}]"


def test_new_version_on_a_graphics_build_keeps_its_flags(machine):
    machine.run("bin/setup", LLAMADIV_ACCEL="vulkan")
    machine.done()
    with (machine.checkout / "constraints.txt").open("a") as file:
        file.write("# llama-cpp-python==0.3.37\n")
    machine.run("bin/setup")
    vulkan = GRAPHICS["vulkan"][2]
    assert machine.done() == [f"pip llama-cpp-python --no-cache-dir --no-deps [{vulkan}]", f"{REST} [{vulkan}]"]


def test_own_cmake_flags_come_last(machine):
    machine.run("bin/setup", CMAKE_ARGS="-DGGML_NATIVE=off")
    assert machine.done()[-1] == f"{REST} [{CPU}-DGGML_NATIVE=off]"


def test_cached_wheel_that_does_not_work_is_built_anew(machine):
    result = machine.run("bin/setup", FAKE_CACHE="broken")
    assert result.returncode == 0
    assert "does not work here" in result.stdout
    assert machine.done() == ["venv", f"{REST} [{CPU}]", f"{CPU_ANEW} [{CPU}]"]


def test_a_build_that_does_not_work_is_said(machine):
    result = machine.run("bin/setup", FAKE_CACHE="hopeless")
    assert (result.returncode, "llama.cpp does not work: it finds 1.00 bits" in result.stderr) == (1, True)


def test_ready_wheel_is_taken_and_needs_no_compiler(machine):
    (machine.path / "c++").unlink()
    (machine.checkout / "wheels").mkdir()
    wheels = str(machine.checkout / "wheels")
    result = machine.run("bin/setup", LLAMADIV_WHEELS=wheels)
    assert result.returncode == 0
    assert machine.done() == ["venv", f"{READY} --no-index --find-links ROOT/wheels [{CPU}]", f"{REST} [{CPU}]"]
    machine.run("bin/setup")
    assert machine.done() == []


def test_ready_wheel_that_cannot_be_had_or_does_not_work_is_silently_replaced(machine):
    index = "https://example.invalid/whl"
    result = machine.run("bin/setup", LLAMADIV_WHEELS=index, FAKE_FAILS="--index-url")
    assert (result.returncode, result.stderr) == (0, "")
    assert machine.done() == ["venv", f"{READY} --index-url {index} [{CPU}]", f"{REST} [{CPU}]"]
    shutil.rmtree(machine.checkout / ".venv")
    assert machine.run("bin/setup", LLAMADIV_WHEELS=index, FAKE_CACHE="broken").returncode == 0
    assert machine.done()[-2:] == [f"{REST} [{CPU}]", f"{CPU_ANEW} [{CPU}]"]


def test_torch_does_not_wait_for_an_index_out_of_reach(machine):
    result = machine.run("bin/setup", FAKE_NO_TORCH="yes", FAKE_OFFLINE="yes")
    assert "PyPI's own is taken" in result.stdout
    assert machine.done() == ["venv", f"{REST} [{CPU}]"]


def test_cached_wheel_needs_no_compiler(machine):
    (machine.path / "c++").unlink()
    assert machine.run("bin/setup", FAKE_CACHE="yes").returncode == 0


def without(*names):
    def change(machine):
        for name in names:
            (machine.path / name).unlink()

    return change


REFUSALS = {
    "no Python": (without("python3.11"), {}, "needs Python 3.10, 3.11, 3.12 or 3.13, and found none. Install one"),
    "old Python": (None, {"FAKE_REFUSES": "it is Python 3.9; too old"}, "  python3.11: it is Python 3.9; too old"),
    "untested Python": (None, {"FAKE_VERSION": "3.14.0"}, "  python3.11: it is Python 3.14.0, which is not tested yet"),
    "named, missing": (None, {"LLAMADIV_PYTHON": "/no/python"}, "LLAMADIV_PYTHON=/no/python cannot be used"),
    "named, old": (None, {"LLAMADIV_PYTHON": "python3.11", "FAKE_REFUSES": "too old"}, "cannot be used: too old."),
    "accelerator": (None, {"LLAMADIV_ACCEL": "CUDA"}, "LLAMADIV_ACCEL is 'CUDA'; it must be cpu, cuda, metal or"),
    "no compiler": (without("c++"), {}, "needs a C++ compiler: sudo apt install g++"),
    "no Xcode": (None, {"FAKE_SYSTEM": "Darwin"}, "needs a C++ compiler: xcode-select --install"),
    "no nvcc": (None, {"LLAMADIV_ACCEL": "cuda"}, "needs nvcc on the PATH: install the CUDA toolkit, or LLAMADIV_ACC"),
}


@pytest.mark.parametrize(("change", "environment", "sentence"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusal_says_what_to_do(machine, change, environment, sentence):
    if change:
        change(machine)
    result = machine.run("bin/llamadiv", "x", **environment)
    assert (result.returncode, result.stdout) == (1, "")
    assert sentence in result.stderr


def test_named_python_is_used_and_kept(machine):
    machine.run("bin/setup")
    machine.done()
    machine.command("mine", PYTHON)
    mine = str(machine.path / "mine")
    machine.run("bin/setup", LLAMADIV_PYTHON=mine)
    assert machine.done()[0] == "venv"
    machine.run("bin/setup", LLAMADIV_PYTHON=mine)
    machine.run("bin/setup")
    assert machine.done() == []


def test_completion_before_setup_is_quiet(machine):
    result = machine.run("bin/llamadiv", _LLAMADIV_COMPLETE="bash_complete")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert machine.done() == []


def test_command_may_be_linked_into_the_path(machine, tmp_path):
    machine.run("bin/setup")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/llamadiv").symlink_to(os.path.relpath(machine.checkout / "bin/llamadiv", tmp_path / "bin"))
    result = subprocess.run([tmp_path / "bin/llamadiv", "x"], input="", capture_output=True, text=True,
                            env=machine.environment)  # fmt: skip
    assert result.stdout == "ran x\n"


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--fast", 2)])
def test_setup_explains_itself(machine, argument, code):
    result = machine.run("bin/setup", argument)
    assert result.returncode == code
    assert "LLAMADIV_ACCEL      cpu, cuda, metal or vulkan" in result.stdout
    assert machine.done() == []


@pytest.mark.parametrize(
    "script",
    [
        "bench.py",
        "calibrate.py",
        "calibrate_population.py",
        "check_gpu.py",
        "fuzz.py",
        "refresh",
        "soak.py",
        "tiny-before",
        "tiny-card",
        "tiny-seeds",
        "tiny-ship",
        "tour",
    ],
)
def test_a_script_asked_for_help_does_nothing_else(script):
    card, tour = (ROOT / "llama_diversity/data/tiny.md").read_bytes(), (ROOT / "docs/tour.ipynb").read_bytes()
    command = [sys.executable, ROOT / "bin" / script, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stdout.split()) > 5
    assert done.stderr == ""
    assert (ROOT / "llama_diversity/data/tiny.md").read_bytes() == card
    assert (ROOT / "docs/tour.ipynb").read_bytes() == tour


# --- The wheel -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare_environment(tmp_path_factory):
    """A folder with the wheel, built from the source distribution, and an environment that has it and only click."""
    folder = tmp_path_factory.mktemp("wheel")
    python = sys.executable
    subprocess.run([python, "-m", "hatchling", "build", "-t", "sdist", "-d", folder], cwd=ROOT, check=True)
    [archive] = folder.glob("*.tar.gz")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir"]
    subprocess.run([python, "-m", "pip", "wheel", *offline, "-w", folder, archive], cwd=folder, check=True)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "environment", symlinks=True)
    bare = folder / "environment/bin/python"
    subprocess.run([python, "-m", "pip", "--python", bare, "install", "--no-deps", "--no-index", wheel], check=True)
    [site] = folder.glob("environment/lib/python*/site-packages")
    lend("click", site)
    return folder, site


def lend(name: str, site: Path) -> None:
    """Link an installed distribution and what it needs into another environment: as good as installed, offline."""
    distribution = importlib.metadata.distribution(name)
    tops = {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}
    if all((site / top).exists() for top in tops):
        return
    for top in tops:
        (site / top).symlink_to(distribution.locate_file(top))
    for requirement in map(Requirement, distribution.requires or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            lend(requirement.name, site)


def in_bare(folder: Path, *arguments: str) -> str:
    """What `llamadiv *arguments` prints there, run from another folder."""
    result = subprocess.run(
        [folder / "environment/bin/llamadiv", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.wheel
def test_wheel_holds_data_and_licence(bare_environment):
    folder, _ = bare_environment
    [wheel] = folder.glob("*.whl")
    names = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True).stdout
    models = [path.name for path in (ROOT / "llama_diversity/data").glob("*.gguf")]
    assert len(models) >= 3
    for name in ("models.toml", "tiny.md", *models):
        assert f"llama_diversity/data/{name}" in names
    assert "dist-info/licenses/LICENSE" in names
    assert "tests/" not in names


@pytest.mark.wheel
def test_wheel_shows_help_with_click_alone(bare_environment):
    folder, _ = bare_environment
    assert in_bare(folder, "--help").startswith("Usage: llamadiv")


@pytest.mark.wheel
def test_wheel_reads_its_table_of_models(bare_environment):
    folder, site = bare_environment
    for name in ["numpy", "rich", "huggingface-hub", *(["tomli"] if sys.version_info < (3, 11) else [])]:
        lend(name, site)
    assert json.loads(in_bare(folder, "models", "ls", "--json"))


@pytest.mark.model
def test_damaged_files_bring_no_command_down() -> None:
    """A few cases of `bin/fuzz`, of kinds that only our own code reads."""
    done = subprocess.run(
        [sys.executable, ROOT / "bin" / "fuzz.py", "21", "--only", "template,table,store", "--seed", "5"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = [int(number) for line in done.stdout.splitlines()[1:] for number in line.split()[1:]]
    assert sum(counts) >= 21


@pytest.mark.model
def test_kills_lose_and_double_no_sample() -> None:
    """A few of `bin/soak`."""
    command = [sys.executable, ROOT / "bin" / "soak.py", "2", "--only", "processes", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    (account,) = json.loads(done.stdout)
    assert (account["lost"], account["doubled"], account["equal"], done.returncode) == (0, 0, True, 0)
