"""The options of run that say on which cluster its runs are done."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from harness.commands.arguments import number
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.workers.job import OnRay, OnSlurm


def add_place_options(command: argparse.ArgumentParser) -> Any:
    """The options that name a cluster; gives their group."""
    group = command.add_argument_group("on a cluster")
    group.add_argument(
        "--on", choices=("ray", "slurm"), help="the runs are done on a cluster, by Ray or SLURM (extras)"
    )
    group.add_argument("--gpus-per-run", type=number, metavar="N", help="0, 1, ...; with Ray also a part, such as 0.5")
    group.add_argument("--address", help="of a Ray cluster, or auto (default: start Ray on this machine)")
    group.add_argument("--slurm-partition", metavar="NAME", help="where jobs go (default: the cluster's)")
    return group


def add_cluster_options(run: argparse.ArgumentParser) -> None:
    """The options."""
    group = add_place_options(run)
    group.add_argument("--slurm-time", metavar="TIME", help="of a job, as SLURM writes it (default: 240 minutes)")
    about = "a shell line that jobs run first; may be given several times"
    group.add_argument("--slurm-setup", action="append", metavar="LINE", help=about)
    about = "another option of sbatch; may be given several times"
    group.add_argument("--slurm-option", action="append", metavar="KEY=VALUE", help=about)
    about = "slurm (default), or to try it without one: local, debug"
    group.add_argument("--slurm-executor", choices=("slurm", "local", "debug"), help=about)
    group.add_argument("--detach", action="store_true", help="with SLURM: return when the jobs are submitted")


def cluster_of(options: argparse.Namespace) -> OnRay | OnSlurm | None:
    """The cluster that the options name.

    Raises:
        HarnessError: options of another cluster than that of ``--on``.
    """
    from harness.workers.job import OnRay, OnSlurm

    given = {name for name, value in vars(options).items() if value not in (None, False)}
    slurm = {name for name in given if name.startswith("slurm_")} | (given & {"detach"})
    wrong = {None: slurm | (given & {"address", "gpus_per_run"}), "ray": slurm, "slurm": given & {"address"}}[
        options.on
    ]
    if wrong:
        names = ", ".join("--" + name.replace("_", "-") for name in sorted(wrong))
        raise HarnessError(f"{names}: belongs to {'--on' if options.on is None else 'another --on'}")
    if options.on == "ray":
        return OnRay(options.address, options.gpus_per_run)
    if options.on is None:
        return None
    keys = ("slurm_partition", "slurm_time", "slurm_setup", "gpus_per_run", "slurm_executor", "detach")
    values = {name.removeprefix("slurm_"): getattr(options, name) for name in keys if name in given}
    pairs = getattr(options, "slurm_option", None) or ()
    return OnSlurm(**values, options=dict(map(key_and_value, pairs)))


def key_and_value(text: str) -> tuple[str, str]:
    """An option of sbatch.

    Raises:
        HarnessError: it is none.
    """
    key, sign, value = text.partition("=")
    if not sign or not key.replace("-", "").replace("_", "").isalnum():
        raise HarnessError(f"--slurm-option {text}: write KEY=VALUE, as in account=nlp")
    return key, value
