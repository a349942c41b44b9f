"""The working examples of `pfbench init`, copied from harness/commands/scaffolds."""

from pathlib import Path

from harness.errors import StorageError, UsageError, unknown
from harness.runs.plugin_file import NAME
from harness.runs.suites import ALL, OURS
from harness.systems.catalogue import SYSTEMS

HERE = Path(__file__).parent / "scaffolds"
FILES = {  # what -> template, and what to call it
    "model": (("model.py", "{}.py"), ("test.py", "test_{}.py")),
    "metric": (("metric.py", "{}.py"), ("test.py", "test_{}.py")),
    "dataset": (("dataset.py", "{}.py"), ("test.py", "test_{}.py")),
    "suite": (("suite.yaml", "{}.yaml"),),
}
NEXT = {
    "model": "pfbench run --suite table5 --plugin {} --model {} --model pfseg",
    "metric": "pfbench run --suite table5 --plugin {}",
    "dataset": "pfbench run --suite table5 --plugin {} --dataset {} --data-root DIR",
    "suite": "pfbench run --suite {}",
}


def write(what: str, name: str, folder: Path) -> list[Path]:
    """Write an example; returns its files.

    UsageError for an impossible name or an existing file.
    """
    if what not in FILES:
        raise unknown("example", what, FILES)
    if not NAME.fullmatch(name):
        remedy = "letters, digits and _, at most 40"
        raise UsageError("cannot be a name", where=f"'{name}'", remedy=remedy, code="PFB-C42")
    if name in (*SYSTEMS, *OURS, ALL):
        what = "there is a model or suite of this name"
        raise UsageError(what, where=name, remedy=f"pfbench init model my_{name}", code="PFB-C42")
    made = {folder / called.format(name): HERE / template for template, called in FILES[what]}
    for path in made:
        if path.exists():
            remedy = "another name, or --in FOLDER"
            raise UsageError("is there already", where=str(path), remedy=remedy, code="PFB-C42")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, template in made.items():
            path.write_text(
                template.read_text(encoding="utf-8").replace("NAME", name), encoding="utf-8"
            )
    except OSError as error:
        what = (error.strerror or "cannot be written").lower()
        raise StorageError(what, where=str(folder), remedy="--in FOLDER") from error
    return list(made)


def next_step(what: str, name: str, folder: Path) -> str:
    """The next commands to type with the files, as text."""
    [[_, called], *_] = FILES[what]
    file = folder / called.format(name)
    check = "" if what == "suite" else f"check it: pfbench check-plugin {file}\n"
    return f"{check}use it: {NEXT[what].format(file, name)}"
