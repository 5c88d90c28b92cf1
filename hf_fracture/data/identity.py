"""Patients and studies as salted hashes: equal ones can be told to be equal, and nobody can be told who they are.

May depend on `cache` only.
"""

import hashlib
import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Final

from hf_fracture.data.cache import find_cache_dir

SALT_VARIABLE: Final = "HF_FRACTURE_SALT"
_NOBODY: Final = frozenset(("", "0", "none", "unknown", "anon", "anonymous", "anonymized", "anonymised", "removed"))


def hash_identity(*parts: str) -> str | None:
    """Hash what identifies a person or an examination.

    The salt is a secret of this computer (made on first use, readable by its owner only), or the environment variable
    `HF_FRACTURE_SALT` where several computers must agree.

    Args:
        parts: Such as a patient's number and who issued it; placeholders such as `ANONYMOUS` identify nobody.

    Returns:
        16 hexadecimal digits; None if the first part identifies nobody.
    """
    if not parts or parts[0].strip().lower() in _NOBODY:
        return None
    text = "\0".join(part.strip() for part in parts)
    return hashlib.blake2b(text.encode(), key=_read_salt(), digest_size=8).hexdigest()


def _read_salt() -> bytes:
    if given := os.environ.get(SALT_VARIABLE):
        return hashlib.sha256(given.encode()).digest()
    return _keep_salt(find_cache_dir() / "salt")


@lru_cache(maxsize=8)
def _keep_salt(path: Path) -> bytes:
    """Return the salt kept at `path`, made on first use; where nothing can be written it lasts for this process."""
    salt = secrets.token_bytes(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()[:64] or salt
    except OSError:
        return salt
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(salt)
    return salt
