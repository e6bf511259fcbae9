"""A folder for the Hub, uploaded: by `huggingface_hub`, with the user's own login, private unless asked otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, in_one_line
from harness.publish.card import TO_FILL
from harness.publish.folder import CARD

NEEDED = (CARD, "config.json")
WEIGHTS = "*.safetensors"


@dataclass(frozen=True)
class Pushed:
    """A repository of the Hub that has a folder's files.

    Args:
        url: its page.
        private: whether only its owners see it.
        to_fill: the lines of the card that are left for the user to fill.
    """

    url: str
    private: bool
    to_fill: int

    def __str__(self) -> str:
        seen = "private: only you and your organisation see it" if self.private else "public"
        left = f"; README.md says {TO_FILL} on {self.to_fill} lines: fill them, and push the folder again"
        return f"pushed: {self.url} ({seen}){left if self.to_fill else ''}"


def check_push(name: str) -> None:
    """Refuse what cannot be uploaded to, before anything is made: nothing is asked of the network.

    Raises:
        HarnessError: no name of a repository; offline; no token.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise HarnessError(f"--push {name}: that is no name on the Hub: {in_one_line(error)}") from None
    if name.count("/") != 1:
        raise HarnessError(f"--push {name}: name the owner, too, as in --push my-organisation/{name}")
    if constants.HF_HUB_OFFLINE:
        raise HarnessError(f"--push {name}: offline mode (--offline, HF_HUB_OFFLINE) forbids the network")
    if get_token() is None:
        raise HarnessError(
            f"--push {name}: there is no token: log in with `hf auth login`, or set HF_TOKEN, with a token that may "
            "write (https://huggingface.co/settings/tokens)"
        )


def push_folder(folder: Path, name: str, public: bool = False) -> Pushed:
    """Upload a folder that `write_hub_folder` wrote, perhaps with its card filled since.

    A repository that is not there is made, private unless ``public``; one that is there stays as visible as it is. Its
    files of the same names are replaced by a new commit, others are left.

    Args:
        folder: with a card, config.json and weights as safetensors.
        name: of the repository, ``owner/name``.

    Raises:
        HarnessError: no such folder, no token, no network, no right to write, a card that the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    _check_folder(folder)
    check_push(name)
    hub = HfApi()
    try:
        hub.create_repo(name, private=not public, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message=f"Upload {folder.resolve().name}")
        info = hub.model_info(name)
    except HfHubHTTPError as error:
        raise HarnessError(_refused(name, error)) from error
    except (httpx.TransportError, ConnectionError) as error:
        raise HarnessError(
            f"--push {name}: cannot reach the Hub ({in_one_line(error)}): check the network, proxies and HF_ENDPOINT. "
            f"{folder} is whole: python -m harness export {folder} --push {name}"
        ) from error
    except (ValueError, RuntimeError) as error:  # a card that is not valid; a file that could not be sent
        reasons = [in_one_line(part) for part in (error, error.__cause__) if isinstance(part, Exception)]
        raise HarnessError(f"--push {name}: {' '.join(dict.fromkeys(reasons))}") from error
    card = (folder / CARD).read_text(encoding="utf-8")
    return Pushed(f"{hub.endpoint}/{name}", bool(info.private), sum(TO_FILL in line for line in card.splitlines()))


def _check_folder(folder: Path) -> None:
    lacking = [file for file in NEEDED if not (folder / file).is_file()]
    if lacking or not any(folder.glob(WEIGHTS)):
        what = lacking[0] if lacking else "weights (.safetensors)"
        raise HarnessError(f"{folder}: no folder for the Hub, it lacks {what}: export RUN --to hub FOLDER writes one")


def _refused(name: str, error: Any) -> str:
    """What the Hub's answer means for the user."""
    owner, status = name.split("/")[0], error.response.status_code
    token = "`hf auth login`, or HF_TOKEN, with a token that may write (https://huggingface.co/settings/tokens)"
    by_status = {
        401: f"the Hub does not accept the token (401): {token}",
        403: f"this token may not write to {owner} (403): check the name, ask its owner for the right, or {token}",
        404: f"the Hub has no {name} that this token may write to (404): check the name, or {token}",
        429: "the Hub limits requests (429): wait some minutes and push again",
    }
    return f"--push {name}: {by_status.get(status, f'the Hub answers {status}: {in_one_line(error)}')}"
