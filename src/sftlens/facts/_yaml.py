"""YAML files of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sftlens.errors import UserError


def read_yaml(path: Path, of: str) -> Any:
    """The content of a YAML file, read safely.

    Args:
        path: the file.
        of: what it should hold, for the error.

    Raises:
        UserError: when it is absent or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; give a YAML file of {of}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give a YAML file of {of}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no UTF-8 is a ValueError
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is no YAML ({reason}); mend it") from None
