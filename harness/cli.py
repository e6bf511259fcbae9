"""The command line: parses the arguments, calls what a Python program would call, and prints."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import harness
from harness.errors import HarnessError
from harness.io import usable
from harness.output import complain, guarded_code

SPEAKS_FIRST = 30.0
"""Seconds that the other processes of a machine wait before they print an error: it is the same in all of them, the
first process prints it at once, and its launcher then ends the others."""

INTERVAL = "behind a mean: standard deviation, 95 %% interval, or this from three seeds on (default: the benchmark's)"

RUN_EXAMPLE = "name a benchmark file, for example: python -m harness run benchmarks.yaml"

EXAMPLES = """examples:
  python -m harness run benchmarks.yaml                    the default benchmark: built-in sample data, tiny models
  python -m harness run benchmarks.yaml glue --data PATH   the real thing, from official files
  python -m harness run benchmarks.yaml glue --tasks rte,mrpc --models bert-base --seeds 1,2
  python -m harness run benchmarks.yaml glue --set recipe.learning_rate=3e-5 --dry-run
  python -m harness report results                         make the tables again, from the records"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 0; 1 when a run failed or not all could be printed; 2 for a mistake that the user can put right;
        130 when interrupted.
    """
    return guarded_code(lambda: _command(arguments))


def _command(arguments: Sequence[str] | None) -> int:
    from harness.data.hub_access import network

    top = parser()
    try:
        options, rest = top.parse_known_args(arguments)
    except HarnessError as error:  # a path
        complain(str(error))
        return 2
    if options.command is command_run and not any(word.startswith("-") for word in rest):
        options.benchmark += rest  # names after an option
    elif rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        with network(offline=getattr(options, "offline", False)):
            return int(options.command(options))
    except HarnessError as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(SPEAKS_FIRST)
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command resumes with the runs that are not done", file=sys.stderr)
        return 130


class Parser(argparse.ArgumentParser):
    """Shows after a mistake what a right command looks like, where it has an example."""

    example = ""

    def error(self, message: str) -> NoReturn:
        """End with code 2, the usage, what is wrong and the example."""
        super().error(f"{message}\n{self.example}" if self.example else message)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="python -m harness",
        description="Fine-tune and compare EncT5, T5 and BERT on GLUE, SuperGLUE and your own tasks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"harness {harness.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    offline = argparse.ArgumentParser(add_help=False)
    offline.add_argument("--offline", action="store_true", help="use no network: take from the Hub's cache, or fail")
    _run_options(commands, offline)
    _reading_options(commands, offline)
    _inspection_options(commands)
    _submission_options(commands, offline)
    return top


def _run_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    about = "train and evaluate what is not done yet, and make the leaderboards"
    run = commands.add_parser("run", help=about, parents=[offline])
    run.example = RUN_EXAMPLE
    run.add_argument("file", type=usable, help="benchmarks.yaml")
    run.add_argument("benchmark", nargs="*", help="names of benchmarks in the file (default: its 'default')")
    run.add_argument("--tasks", type=names, help="only these tasks or suites, separated by commas")
    run.add_argument("--models", type=names, help="only these models")
    run.add_argument("--seeds", type=seeds, help="these seeds, e.g. 1,2,3")
    run.add_argument("--data", help="hub, sample, or a folder of official files")
    run.add_argument("--results", type=usable, default=Path("results"), help="where results go (default: results)")
    run.add_argument("--set", action="append", default=[], metavar="recipe.KEY=VALUE", help="change every recipe")
    run.add_argument("--dry-run", action="store_true", help="list the runs and which are done; train nothing")
    run.add_argument("--retrain", action="store_true", help="train again where test predictions need a lost model")
    run.add_argument("--interval", choices=harness.api.INTERVALS, help=INTERVAL)
    about = "seconds without a sign of life after which another process counts as dead (default: 180)"
    run.add_argument("--patience", type=float, default=180.0, metavar="SECONDS", help=about)
    run.set_defaults(command=command_run)


def _reading_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    report = commands.add_parser("report", help="make the leaderboards again from the records, in the first folder")
    report.add_argument("results", nargs="*", type=usable, default=[Path("results")], help="results folders")
    report.add_argument("--benchmark", help="only this benchmark")
    report.add_argument("--plugins", type=usable, action="append", default=[], help="folder of task plugins")
    report.add_argument("--references", action="store_true", help="add published reference rows")
    report.add_argument("--long", action="store_true", help="write scores.csv, too: a line for each score of each run")
    report.add_argument("--interval", choices=harness.api.INTERVALS, help=INTERVAL)
    report.set_defaults(command=command_report)

    show = commands.add_parser("show", help="everything about one run")
    show.add_argument("run", type=usable, help="the folder of a run, under results/<benchmark>/runs/")
    show.set_defaults(command=command_show)

    tasks = commands.add_parser("tasks", help="list the tasks")
    tasks.add_argument("file", nargs="?", type=usable, help="a benchmarks.yaml, for its own tasks and plugins")
    tasks.add_argument("--show", metavar="NAME", help="one example of this task, as each family reads it")
    tasks.add_argument(
        "--data", default="sample", help="of --show: sample (default), hub or a folder of official files"
    )
    tasks.set_defaults(command=command_tasks)

    models = commands.add_parser("models", help="list the models of a file")
    models.add_argument("file", nargs="?", type=usable, default=Path("benchmarks.yaml"))
    models.set_defaults(command=command_models)

    about = "check a file: all mistakes at once, with their lines"
    validate = commands.add_parser("validate", help=about, parents=[offline])
    validate.add_argument("file", type=usable)
    validate.set_defaults(command=command_validate)


def _inspection_options(commands: Any) -> None:
    about = "compare two models or runs on every task, or all pairs of models: is a difference more than chance?"
    compare = commands.add_parser("compare", help=about)
    words = "two models, or the folders of two runs; without them all pairs; then results folders (default: results)"
    compare.add_argument("words", nargs="*", metavar="A B [RESULTS ...]", help=words)
    compare.add_argument("--show", type=int, default=0, metavar="N", help="N examples of each task where they disagree")
    compare.add_argument("--format", choices=["md", "csv", "json", "tex"], default="md", help="default: md")
    compare.set_defaults(command=command_compare)

    errors = commands.add_parser("errors", help="what a run gets wrong, or what every run of a benchmark gets wrong")
    errors.add_argument("where", type=usable, metavar="RUN", help="the folder of a run, or a results folder")
    errors.add_argument("--label", help="only examples of this label")
    errors.add_argument("--predicted", help="only answers of this label")
    errors.add_argument("--limit", type=int, default=20, help="examples shown of each split (default: 20)")
    errors.set_defaults(command=command_errors)

    about = "compute every score again from the predictions, and every table from the records: what differs?"
    audit = commands.add_parser("audit", help=about)
    audit.add_argument("results", nargs="*", type=usable, default=[Path("results")], help="results folders")
    audit.set_defaults(command=command_audit)

    for command in (compare, errors):
        command.add_argument("--tasks", type=names, default=[], help="only these, separated by commas")
    for command in (compare, errors, audit):
        command.add_argument("--benchmark", help="only this benchmark")
        command.add_argument("--data", help="where the data is here (default: where the benchmark read it)")
        command.add_argument("--file", type=usable, help="a benchmarks.yaml, for its own tasks and plugins")
        command.add_argument("--plugins", type=usable, action="append", default=[], help="folder of task plugins")


def _submission_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    about = "write the file that a leaderboard takes from test predictions"
    submit = commands.add_parser("submit", help=about, parents=[offline])
    submit.add_argument("results", type=usable, help="a results folder")
    submit.add_argument("benchmark", help="a benchmark in it, run with 'predict: [test]'")
    submit.add_argument("--model", required=True, help="whose predictions")
    which = submit.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, help="of this seed (default: the only one)")
    which.add_argument("--best", action="store_true", help="for each task, the seed with the best validation score")
    submit.add_argument("--suite", choices=["glue", "superglue"], help="needed where the benchmark has both")
    submit.add_argument("--output", type=usable, default=Path(), help="folder or zip file (default: here)")
    submit.add_argument("--fill-majority", action="store_true", help="fill tasks without predictions with one class")
    submit.add_argument("--data", help="hub or the folder of the official data, to count majorities in")
    submit.add_argument("--plugins", type=usable, action="append", default=[], help="folder of task plugins")
    submit.set_defaults(command=command_submit)

    check = commands.add_parser("check-submission", help="re-read a submission, ours or another tool's: every defect")
    check.add_argument("file", type=usable, help="a zip file")
    check.set_defaults(command=command_check_submission)


def names(text: str) -> list[str]:
    """``a,b`` as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def seeds(text: str) -> list[int]:
    """``1,2,3`` as a list of numbers."""
    try:
        return [int(seed) for seed in names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers, such as 1,2,3") from None


def settings(pairs: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` arguments as a mapping."""
    for pair in pairs:
        if "=" not in pair:
            raise HarnessError(f"--set {pair}: write recipe.KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def command_run(options: argparse.Namespace) -> int:
    file, specs = harness.api.read(
        options.file,
        options.benchmark,
        tasks=options.tasks,
        models=options.models,
        seeds=options.seeds,
        data=options.data,
        settings=settings(options.set),
        interval=options.interval,
    )
    from harness.results.leases import check_patience
    from harness.runner.runner import dry_run, run_benchmark

    check_patience(options.patience)
    if options.dry_run:
        for spec in specs:
            print_once(dry_run(file, spec, options.results))
        return 0
    failed = 0
    how: dict[str, Any] = {"progress": True, "retrain": options.retrain, "patience": options.patience}
    for spec in specs:
        board, failures = run_benchmark(file, spec, options.results, **how)
        print_once(board.text)
        failed += failures
    if not options.benchmark and file.default == "sample" and "glue" in file.benchmarks:
        print_once(f"\nThe real thing: python -m harness run {options.file} glue")
    leave_group()
    return 1 if failed else 0


def print_once(text: str) -> None:
    """Print from the only process of a launch, or from the first of several."""
    if os.environ.get("RANK", "0") == "0":
        print(text)


def leave_group() -> None:
    """End the connections between processes in order: one that is still open at exit can abort the process."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def command_report(options: argparse.Namespace) -> int:
    boards = harness.report(
        options.results,
        options.benchmark,
        plugins=options.plugins,
        references=options.references,
        interval=options.interval,
        long=options.long,
    )
    for board in boards.values():
        print(board.text)
    folders = [next(folder / name for folder in options.results if (folder / name).is_dir()) for name in boards]
    print(f"\nwritten: {', '.join(str(folder / 'leaderboard.md') for folder in folders)}")
    return 0


def command_show(options: argparse.Namespace) -> int:
    print(harness.show(options.run))
    return 0


def command_compare(options: argparse.Namespace) -> int:
    pair, folders = sides(options.words)
    report = harness.compare(*pair, folders, tasks=options.tasks, show=options.show, **definitions(options))
    print(report.text(options.format), end="")
    return 0


def sides(words: Sequence[str]) -> tuple[tuple[str | None, str | None], list[Path]]:
    """What ``compare`` is given: two names, unless the first is a results folder, and results folders."""
    from harness.results.store import benchmarks_in

    pair: tuple[str | None, str | None] = (None, None)
    if words and not (Path(words[0]).is_dir() and benchmarks_in(words[0])):
        if len(words) < 2:
            raise HarnessError(f"compare {words[0]}: name two models or runs, or none for all pairs")
        pair, words = (words[0], words[1]), words[2:]
    return pair, [Path(word) for word in words] or [Path("results")]


def definitions(options: argparse.Namespace) -> dict[str, Any]:
    """The options that say where data and tasks are."""
    return {name: getattr(options, name) for name in ("benchmark", "data", "file", "plugins")}


def command_errors(options: argparse.Namespace) -> int:
    chosen = {name: getattr(options, name) for name in ("tasks", "label", "predicted", "limit")}
    print(harness.show_errors(options.where, **chosen, **definitions(options)), end="")
    return 0


def command_audit(options: argparse.Namespace) -> int:
    found = harness.audit(options.results, **definitions(options))
    print(found.text)
    return 1 if found.differences else 0


def command_tasks(options: argparse.Namespace) -> int:
    if options.show is not None:
        print(harness.show_task(options.show, options.file, options.data))
        return 0
    if options.file is None:
        tasks = harness.load_tasks()
    else:
        from harness.config.benchmark import read_benchmarks

        tasks = read_benchmarks(options.file).tasks
    width = max(len(name) for name in tasks)
    for task in tasks.values():
        labels = ", ".join(task.labels[:6]) + (", ..." if len(task.labels) > 6 else "")
        by = f"  (answered by the {task.evaluated_by} model)" if task.evaluated_by else ""
        print(f"{task.name:{width}}  {task.suite:10} {task.problem_type:28} {', '.join(task.metrics):24} {labels}{by}")
    return 0


def command_models(options: argparse.Namespace) -> int:
    from harness.config.benchmark import read_benchmarks

    models = read_benchmarks(options.file).models
    width = max((len(name) for name in models), default=0)
    for model in models.values():
        source = model.checkpoint or "random weights"
        at = f" @ {model.revision}" if model.revision else ""
        print(f"{model.name:{width}}  {model.architecture:6} {source}{at}")
    return 0


def command_validate(options: argparse.Namespace) -> int:
    from harness.config.benchmark import read_benchmarks
    from harness.config.effective import effective_recipes
    from harness.data.custom import separator_warning

    file = read_benchmarks(options.file, check_folders=True)
    for spec in file.benchmarks.values():
        print(f"{spec.name}: {len(spec.tasks)} tasks x {len(spec.models)} models x {len(spec.seeds)} seeds")
        print(textwrap.indent(effective_recipes(spec), "  "))
    for warning in filter(None, map(separator_warning, file.tasks.values())):
        print(warning)
    print(f"{options.file} is valid")
    return 0


def command_submit(options: argparse.Namespace) -> int:
    written = harness.submit(
        options.results,
        options.benchmark,
        options.model,
        seed=options.seed,
        best=options.best,
        suite=options.suite,
        output=options.output,
        fill_majority=options.fill_majority,
        data=options.data,
        plugins=options.plugins,
    )
    print(f"{written.path}: {', '.join(written.written)}")
    for name, count in written.invalid.items():
        print(f"{name}: {count} predictions are no answer; the first class stands for them")
    if written.filled:
        print(f"filled with the majority class, not predicted: {', '.join(written.filled)}")
    if written.missing:
        print(f"INCOMPLETE: no test predictions for {', '.join(written.missing)}; --fill-majority fills them")
        return 1
    return 0


def command_check_submission(options: argparse.Namespace) -> int:
    from harness.submission.check import check_submission

    defects = check_submission(options.file)
    print("\n".join(defects) if defects else f"{options.file}: no defects found")
    return 1 if defects else 0
