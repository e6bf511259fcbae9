"""Commands that read records, tasks, models and files: report, show, tasks, metrics, models, validate."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness.commands.arguments import INTERVAL, RESULTS_FOLDER, names, print_board, results
from harness.errors import HarnessError, in_one_line
from harness.io import usable
from harness.output import complain

if TYPE_CHECKING:
    from harness.leaderboard.board import Leaderboard


def add_options(commands: Any, offline: argparse.ArgumentParser) -> None:
    report = commands.add_parser("report", help="make the leaderboards again from the records, in the first folder")
    report.add_argument("results", nargs="*", type=results, default=[Path("results")], help=RESULTS_FOLDER)
    report.add_argument("--benchmark", help="only this benchmark")
    report.add_argument("--plugins", type=usable, action="append", default=[], help="folder of task plugins")
    report.add_argument("--references", action="store_true", help="add published reference rows")
    report.add_argument("--long", action="store_true", help="write scores.csv, too: a line for each score of each run")
    about = "write the results for other tools, too: lm-eval, eee (Every Eval Ever), or both separated by a comma"
    report.add_argument("--export", type=names, default=[], metavar="FORMS", help=about)
    about = "print the leaderboard in this form, and nothing else"
    report.add_argument("--format", choices=["md", "csv", "tex", "json"], help=about)
    report.add_argument("--plots", nargs="?", const="svg", default="", help="write the plots, too: svg,pdf,png")
    report.add_argument("--texts", action="store_true", help="show the texts of examples on the page")
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

    metrics = commands.add_parser("metrics", help="list the metrics that a task can name")
    metrics.set_defaults(command=command_metrics)

    models = commands.add_parser("models", help="list the models of a file")
    models.add_argument("file", nargs="?", type=usable, default=Path("benchmarks.yaml"))
    models.set_defaults(command=command_models)

    about = "check a file: all mistakes at once, with their lines"
    validate = commands.add_parser("validate", help=about, parents=[offline])
    validate.add_argument("file", type=usable)
    validate.add_argument("--data", action="store_true", help="read the data, too, and say what is odd in it")
    validate.set_defaults(command=command_validate)


def command_report(options: argparse.Namespace) -> int:
    """Tables are printed before they are written: a folder that is only to be read can be looked at, too."""
    from harness.page.pictures import check_formats
    from harness.report.status import running_text
    from harness.reports import Files, reports_of

    plots = check_formats(names(options.plots))
    files = Files(options.long, plots, options.texts, options.export)
    how = {"references": options.references, "interval": options.interval}
    boards, written, problems = {}, [], []
    for made in reports_of(options.results, options.benchmark, options.plugins, **how):
        name = made.board.benchmark
        boards[name] = made.board
        if not options.format:
            print_board(made.board)
            for running in filter(None, (running_text(folder, name) for folder in options.results)):
                print(f"\n{running}")
        try:
            made.write(files)
            written += [str(made.folder / file) for file in ("leaderboard.md", "index.html")]
        except HarnessError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            problems.append(f"{made.folder}: not written: {in_one_line(error.__cause__)}")
    if options.format:
        print(form_of(boards, options.format), end="")
    elif written:
        print(f"\nwritten: {', '.join(written)}")
    for problem in problems:
        complain(f"{problem}; --format md, csv, tex or json prints the tables for a file elsewhere")
    return 2 if problems and not options.format else 0


def form_of(boards: Mapping[str, Leaderboard], form: str) -> str:
    """Leaderboards as a file of theirs; those for programs are of one benchmark.

    Raises:
        HarnessError: several for programs.
    """
    from harness.report.leaderboard import contents

    if len(boards) > 1 and form in ("csv", "json"):
        raise HarnessError(f"there are benchmarks {', '.join(boards)}: choose with --benchmark")
    return "\n".join(contents(board)[f"leaderboard.{form}"].decode() for board in boards.values())


def command_show(options: argparse.Namespace) -> int:
    print(harness.show(options.run))
    return 0


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


def command_metrics(options: argparse.Namespace) -> int:
    from harness.format import plain_table
    from harness.task.metrics import METRICS

    better = {False: "higher", True: "lower"}
    fitting = {name: ", ".join(metric.problem_types) for name, metric in METRICS.items()}
    rows = [
        [name, better[metric.lower_is_better], metric.source, fitting[name] or "SuperGLUE's own tasks"]
        for name, metric in METRICS.items()
    ]
    print(plain_table(["metric", "better", "as defined by", "problem types"], rows, left=True), end="\n\n")
    for name, metric in METRICS.items():
        print(textwrap.fill(f"{name}: {metric.description}", 100, subsequent_indent="  "))
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
    from harness.data.custom import data_notes
    from harness.format import plural

    file = read_benchmarks(options.file, check_folders=True)
    for spec in file.benchmarks.values():
        sizes = plural(len(spec.tasks), "task"), plural(len(spec.models), "model"), plural(len(spec.seeds), "seed")
        print(f"{spec.name}: {' x '.join(sizes)}")
        print(textwrap.indent(effective_recipes(spec), "  "))
    for note in (note for task in file.tasks.values() for note in data_notes(task)):
        print(note)
    if options.data:
        from harness.runner.reading import describe_data

        for line in describe_data(file):
            print(line, flush=True)
    print(f"{options.file} is valid")
    return 0
