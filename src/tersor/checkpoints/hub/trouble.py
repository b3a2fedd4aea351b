"""What a hub answers when it does not give or take what it is asked for, in one sentence."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from tersor.checkpoints.hub.naming import HubName
from tersor.errors import HubError

_TOKEN = "log in with hf auth login, or set HF_TOKEN"


def unreachable() -> tuple[type[Exception], ...]:
    """The errors of a network that is off, or a hub that is down."""
    from huggingface_hub import errors

    # The hub's library changes the one it speaks HTTP with; the errors have kept their names.
    of_http = next(one for one in errors.HfHubHTTPError.__mro__ if one.__name__ == "HTTPError")
    library = import_module(of_http.__module__.partition(".")[0])
    return (errors.OfflineModeIsEnabled, library.TransportError)


@contextmanager
def hub_trouble(name: HubName, done: str) -> Iterator[None]:
    """Turn errors of ``huggingface_hub`` into :class:`HubError`.

    ``done``: what was not, ``fetched`` or ``sent``.
    """
    from huggingface_hub import errors

    try:
        with _reachable(), _bars_on_terminals():
            yield
    except errors.GatedRepoError as error:
        raise HubError(
            f"{name}: the repository is gated; ask for access on its page, then {_TOKEN}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{name}: neither a path here nor a repository on the hub, or a private one; check the "
            f"name, or {_TOKEN}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"{name}: the repository has no revision {name.revision or 'main'!r}; check its "
            "branches and tags"
        ) from error
    except errors.HFValidationError as error:
        raise HubError(f"{name}: no name on a hub: {_line(error)}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise HubError(f"{name}: the hub gives no access ({status}); {_TOKEN}") from error
        raise HubError(
            f"{name}: not {done}: the hub answered {status} ({_line(error)}); try again later"
        ) from error
    except unreachable() as error:
        raise HubError(
            f"{name}: not {done}: the hub cannot be reached ({_line(error)}); connect and try again"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.FileMetadataError) as error:
        raise HubError(f"{name}: not {done}: {_line(error)}; try again") from error


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__


@contextmanager
def _reachable() -> Iterator[None]:
    """The hub may be asked, unless ``HF_HUB_OFFLINE`` says no.

    The command line keeps all else off the network by ``TRANSFORMERS_OFFLINE``.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    if "HF_HUB_OFFLINE" not in os.environ:
        constants.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _bars_on_terminals() -> Iterator[None]:
    """Where standard error is no terminal, ``huggingface_hub`` draws nothing."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
