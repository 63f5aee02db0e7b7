"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
NOT_IMPORTED = {
    "accelerate": "diffusers loads weights with it, without a second copy in memory",
    "peft": "diffusers loads LoRAs with it",
    "protobuf": "transformers reads sentencepiece's tokenizers with it",
    "sentencepiece": "tokenizers of T5 encoders (SD 3.5, FLUX)",
    "uvloop": "uvicorn's event loop, where it is installed",
}
"""What an extra declares and no module imports, with the reason."""
SHARED = {"opentelemetry": "opentelemetry-sdk"}
"""Packages that several distributions have parts of, with the one that brings the others."""
TOOLS = {
    "zensical",
    "import-linter",
    "mypy",
    "pre-commit",
    "pytest-asyncio",
    "pytest-xdist",
    "ruff",
    "types-psutil",
    "types-pyyaml",
}
"""What `dev` declares beside what tests import."""


def test_the_operator_folder_does_not_shadow_the_standard_library() -> None:
    subprocess.run([sys.executable, "-S", "-c", "import collections, operator; operator.add"], cwd=ROOT, check=True)
    assert not [folder for folder in ROOT.iterdir() if (folder / "__init__.py").exists()]


def test_core_declares_what_it_imports_and_nothing_else() -> None:
    assert imported(core_modules()) - own("tracing") == declared("")


@pytest.mark.parametrize("extra", ["operator", "router", "worker", "profiler"])
def test_an_extra_declares_what_its_package_imports_and_nothing_else(extra: str) -> None:
    imports = imported((ROOT / extra).rglob("*.py")) - own("tracing")  # imported where traces are on
    if extra in ("operator", "router"):
        imports |= imported((ROOT / "core/hadis/kube").glob("*.py"))
    assert imports - declared("") - declared(extra) == set(), "imported, but not declared"
    assert own(extra) - imports - NOT_IMPORTED.keys() == set(), "declared, but not imported"
    assert not imports & NOT_IMPORTED.keys(), "the reason is out of date"


@pytest.mark.parametrize(("folder", "extra"), [("tests", "dev"), ("bench", "bench")])
def test_tests_and_benchmarks_have_what_they_import(folder: str, extra: str) -> None:
    # Clients' programs run in environments of their own.
    imports = imported(path for path in (ROOT / folder).rglob("*.py") if path.parent.name != "programs")
    assert imports - declared("") - declared(extra) == set(), "imported, but not declared"
    assert own(extra) - imports - TOOLS == set(), "declared, but not imported"


def test_no_public_class_name_stands_in_two_packages() -> None:
    packages: dict[str, set[str]] = {}
    for folder in ("core/hadis", "operator", "router", "worker", "profiler"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    packages.setdefault(node.name, set()).add(str(path.relative_to(ROOT)))
    assert {name: sorted(paths) for name, paths in packages.items() if len(paths) > 1} == {}


def test_make_help_lists_every_target() -> None:
    command = ["make", "--no-print-directory", "help"]  # else, below `make test`, it tells where it is
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    text = (ROOT / "Makefile").read_text()
    [targets] = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert {line.split()[0] for line in shown.splitlines()} == set(targets.split())


def test_pre_commit_runs_what_lint_runs() -> None:
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    assert [hook["entry"] for hook in hooks] == ["make lint"]
    assert hooks[0]["always_run"] and not hooks[0]["pass_filenames"]


def core_modules() -> list[Path]:
    """Return core's modules without the Kubernetes client, which comes with the extras that use it."""
    return [path for path in (ROOT / "core").rglob("*.py") if path.parent.name != "kube"]


def imported(modules: Iterable[Path]) -> set[str]:
    """Return the distributions that modules import, wherever in them."""
    tops = set[str]()
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                tops |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                tops.add(node.module.split(".")[0])
    return {distribution(top) for top in tops - sys.stdlib_module_names - beside()}


@cache
def beside() -> frozenset[str]:
    """Return the modules of our own that are imported by name: packages, and helpers of tests and benchmarks."""
    paths = [path for folder in ("tests", "bench") for path in (ROOT / folder).rglob("*.py")]
    helpers = {path.parent.name if path.stem == "__init__" else path.stem for path in paths}
    return frozenset({path.parent.name for path in ROOT.glob("*/hadis*/__init__.py")} | helpers)


def distribution(module: str) -> str:
    """Return the name of the distribution that has a module; one that is not installed is called as its module."""
    return SHARED.get(module) or plain(_distributions().get(module, [module])[0])


_distributions = cache(packages_distributions)


def plain(requirement: str) -> str:
    """Return the normalised name in a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


@cache
def project() -> tuple[list[str], dict[str, list[str]]]:
    """Return the dependencies, and those of each extra."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table["dependencies"], table["optional-dependencies"]


def own(extra: str) -> set[str]:
    """Return the distributions that an extra itself declares ("": those of core)."""
    dependencies, extras = project()
    return {plain(item) for item in (extras[extra] if extra else dependencies) if not item.startswith("hadis[")}


def declared(extra: str) -> set[str]:
    """Return the distributions of an extra and of the extras that it includes."""
    included = [item for item in (project()[1][extra] if extra else []) if item.startswith("hadis[")]
    more = [name for item in included for name in item[len("hadis[") : item.index("]")].split(",")]
    return own(extra).union(*(declared(name) for name in more))
