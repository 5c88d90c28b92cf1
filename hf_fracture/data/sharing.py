"""Films that a folder shares with another dataset: with a ledger, by hashes alone, or with a folder, on pixels.

May depend on `candidates`, `duplicates`, `films`, `fingerprints` and `ledger`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.candidates import join_hashes
from hf_fracture.data.duplicates import Fingerprint, find_duplicate_pairs
from hf_fracture.data.films import Film
from hf_fracture.data.fingerprints import NUM_ORIENTATIONS, THUMBNAIL_PX, hash_detail, hash_orientations
from hf_fracture.data.ledger import LedgerEntry
from hf_fracture.data.splits import group_images

MAX_DETAIL_BITS: Final = (
    26  # of 256; films shared by the known datasets differ in 0 to 25, different films in 28 or more
)
_CHUNK_FILMS: Final = 1024
_MIN_DEVIATION: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class SharedFilm:
    """A film that another dataset holds too.

    Attributes:
        source_path: Of the film here.
        other_path: Of the film there; the first of several.
        how: `byte identical` or `looks the same`.
    """

    source_path: str
    other_path: str
    how: str


def find_in_ledger(films: Sequence[Film], entries: Sequence[LedgerEntry]) -> list[SharedFilm]:
    """Find the films that a ledger names, by content, else by two hashes in eight orientations.

    A ledger holds no pixels, so a film turned by an angle that no film of the ledger is turned by is not found; compare
    with the folder itself for that.

    Args:
        films: Readable films.
        entries: The ledger.
    """
    by_content: dict[str, LedgerEntry] = {}
    for entry in entries:
        by_content.setdefault(entry.sha256, entry)
    shared = {film.source_path: (by_content[film.sha256], True) for film in films if film.sha256 in by_content}
    rest = [film for film in films if film.source_path not in shared]
    for start in range(0, len(rest), _CHUNK_FILMS):
        chunk = rest[start : start + _CHUNK_FILMS]
        for film, entry in _match_looks(chunk, entries):
            shared[film.source_path] = (entry, False)
    return [
        SharedFilm(source_path=path, other_path=entry.source_path, how="byte identical" if equal else "looks the same")
        for path, (entry, equal) in sorted(shared.items())
    ]


def _match_looks(films: Sequence[Film], entries: Sequence[LedgerEntry]) -> list[tuple[Film, LedgerEntry]]:
    """Return each film with the entry whose detail hash is nearest, if it is near enough."""
    thumbnails = load_thumbnails(films)
    shows = thumbnails.std(axis=(1, 2)) >= _MIN_DEVIATION
    hashes, details = hash_orientations(thumbnails), hash_detail(thumbnails)
    known = [entry for entry in entries if entry.detail_hash.strip("0")]
    table = np.array([int(entry.perceptual_hash, 16) for entry in known], dtype=np.uint64)
    table_details = np.frombuffer(bytes.fromhex("".join(entry.detail_hash for entry in known)), dtype=np.uint8)
    table_details = table_details.reshape(len(known), details.shape[2])
    best: dict[int, tuple[int, int]] = {}
    for orientation in range(NUM_ORIENTATIONS):
        for pairs, _ in join_hashes(hashes[:, orientation], table):
            near = details[pairs[:, 0], orientation] ^ table_details[pairs[:, 1]]
            for (film, entry), bits in zip(pairs.tolist(), np.bitwise_count(near).sum(axis=1).tolist(), strict=True):
                if bits <= MAX_DETAIL_BITS and shows[film]:
                    best[film] = min(best.get(film, (bits, entry)), (bits, entry))
    return [(films[film], known[entry]) for film, (_, entry) in sorted(best.items())]


def find_in_films(films: Sequence[Film], others: Sequence[Film]) -> list[SharedFilm]:
    """Find the films that another folder holds too, by content or confirmed on pixels, turned by any angle.

    Args:
        films: Readable films of this folder.
        others: Readable films of the other.
    """
    both = [*films, *others]
    distinct = sorted({film.sha256: index for index, film in reversed(list(enumerate(both)))}.values())
    pairs = find_duplicate_pairs([restore_fingerprint(both[index]) for index in distinct])
    first_of = {both[index].sha256: index for index in distinct}
    links = [(distinct[pair.first], distinct[pair.second]) for pair in pairs]
    links += [(first_of[film.sha256], index) for index, film in enumerate(both)]
    groups = group_images(len(both), links)
    there: dict[int, int] = {}
    content_there = {film.sha256: film for film in reversed(others)}
    for index in range(len(films), len(both)):
        there.setdefault(groups[index], index)
    shared = []
    for index, film in enumerate(films):
        if film.sha256 in content_there:
            other, how = content_there[film.sha256].source_path, "byte identical"
        elif groups[index] in there:
            other, how = both[there[groups[index]]].source_path, "looks the same"
        else:
            continue
        shared.append(SharedFilm(source_path=film.source_path, other_path=other, how=how))
    return sorted(shared, key=lambda item: item.source_path)


def restore_fingerprint(film: Film) -> Fingerprint:
    """Return the fingerprint that a film carries."""
    return Fingerprint(thumbnail=load_thumbnails([film])[0], width=film.width, height=film.height)


def load_thumbnails(films: Sequence[Film]) -> NDArray[np.uint8]:
    """Return the thumbnails (N, 128, 128) that films carry."""
    pixels = np.frombuffer(b"".join(film.thumbnail for film in films), dtype=np.uint8)
    return pixels.reshape(len(films), THUMBNAIL_PX, THUMBNAIL_PX)
