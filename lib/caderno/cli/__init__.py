"""The command line: one thin function a verb, each handing over to one of the library."""

from __future__ import annotations

import errno
import gc
import os
import sys

import click

from caderno.cli import delivering, keeping, looking, monitoring, reporting, running, serving, verifying  # noqa: F401  # each adds its commands
from caderno.cli.common import cli
from caderno.errors import CadernoError

# What a disk or its owner refuses, whatever was asked of it.
_GARBAGE = 400_000  # objects: as usual, a collection every 700, it costs a tenth of a run, for imports leave no garbage
_DISK = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ELOOP}

__all__ = ["cli", "main"]


def main() -> None:
    """Run the command line; every problem that a user can mend ends here, without a traceback."""
    gc.set_threshold(_GARBAGE)
    try:
        cli.main(prog_name="caderno", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except click.Abort:
        raise SystemExit(130) from None
    except CadernoError as error:
        raise SystemExit(_told(str(error), error.exit_code)) from None
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(_told(f"{where}{error.strerror}", CadernoError.exit_code)) from None


def _told(message: str, code: int) -> int:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    return code
