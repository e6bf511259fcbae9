"""The options of run that say on which cluster its runs are done."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from harness.commands.arguments import number
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.workers.job import OnRay, OnSlurm


def add_cluster_options(run: argparse.ArgumentParser) -> None:
    """The options."""
    group = run.add_argument_group("on a cluster")
    group.add_argument("--on", choices=("ray", "slurm"), help="do the runs on a cluster, by Ray or SLURM (extras)")
    group.add_argument("--gpus-per-run", type=number, metavar="N", help="0, 1, ...; with Ray also a part, such as 0.5")
    group.add_argument("--address", help="of a Ray cluster, or auto (default: start Ray on this machine)")
    group.add_argument("--slurm-partition", metavar="NAME", help="where jobs go (default: the cluster's)")
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
    values = {
        "partition": options.slurm_partition,
        "time": options.slurm_time,
        "setup": options.slurm_setup,
        "options": dict(map(key_and_value, options.slurm_option or ())),
        "gpus_per_run": options.gpus_per_run,
        "executor": options.slurm_executor,
    }
    return OnSlurm(**{key: value for key, value in values.items() if value is not None}, detach=options.detach)


def key_and_value(text: str) -> tuple[str, str]:
    """An option of sbatch.

    Raises:
        HarnessError: it is none.
    """
    key, sign, value = text.partition("=")
    if not sign or not key.replace("-", "").replace("_", "").isalnum():
        raise HarnessError(f"--slurm-option {text}: write KEY=VALUE, as in account=nlp")
    return key, value
