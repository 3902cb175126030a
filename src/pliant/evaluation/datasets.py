"""Public test sets: where their files are, on which terms, and how each file is recognised.

Sets are left out whose terms are unknown or do not allow a direct download, and those whose files
nobody has published checksums of. So CLIC is missing (no licence text), and McMaster (none stated).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pliant.errors import PliantError, UsageError
from pliant.evaluation import download

_CHUNK = 1 << 20


@dataclass(frozen=True)
class File:
    """One file of a set.

    Attributes:
        addresses: of the same file, the source first, then mirrors.
        sha256: of the file, in hexadecimal digits.
        pixels: or of its decoded 8-bit RGB samples, row by row, where only these are known.
        most_bytes: what it may have.
    """

    name: str
    addresses: tuple[str, ...]
    sha256: str | None = None
    pixels: str | None = None
    most_bytes: int = 4 << 20

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` is this one."""
        return _file_digest(path) == self.sha256 if self.sha256 else self._same_pixels(path)

    def _same_pixels(self, path: Path) -> bool:
        from PIL import Image

        from pliant.image import decoding

        try:
            with decoding(), Image.open(path) as image:
                pixels = image.convert("RGB").tobytes()
        except (PliantError, OSError):
            return False
        return hashlib.sha256(pixels).hexdigest() == self.pixels


@dataclass(frozen=True)
class Dataset:
    """One set; `checked` says by what its files are recognised and who vouches for that."""

    name: str
    title: str
    source: str
    terms: str
    checked: str
    files: tuple[File, ...]


def find(name: str) -> Dataset:
    """The set called `name`.

    Raises:
        UsageError: there is none.
    """
    for dataset in DATASETS:
        if dataset.name == name:
            return dataset
    known = ", ".join(dataset.name for dataset in DATASETS)
    raise UsageError(f"unknown data set {name!r}; known: {known}")


def load(file: File, folder: Path, *, force: bool = False) -> bool:
    """Whether the file had to be loaded into the folder; a right one that is there is kept.

    Raises:
        UsageError: another file of that name is there, and `force` does not allow to replace it.
        DamagedError, PliantError: as `download.fetch`.
    """
    target = folder / file.name
    if target.exists():
        if file.matches(target):
            return False
        if not force:
            raise UsageError(f"{target} is there and is another file; --force replaces it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        download.fetch(file.addresses, target, file.matches, most_bytes=file.most_bytes)
    except OSError as error:
        raise PliantError(f"cannot write {target}: {error.strerror or error}") from error
    return True


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


# --- the sets -----------------------------------------------------------------------------------

_KODAK_SITE = "https://r0k.us/graphics/kodak/"
_KODAK_MIRROR = (
    "https://raw.githubusercontent.com/MohamedBakrAli/Kodak-Lossless-True-Color-Image-Suite/"
    "master/PhotoCD_PCD0992/"
)
_KODAK_SHA256 = (
    "a56e27cbf5f843c048b6af1d6e090760e9c92fadba88b7dee0205918a37523bd",
    "4f4b74a79237e311d72cad958237b5f7088d8bce1c82305ebefe1a70e3022dfd",
    "e25ca1ff2f0c0cb5fdfd5f9b0a0bb21ac4c3de3c84a67f35b09a85d3306249db",
    "e3b946107c5d3441c022f678d0c3caf1e224d81b1604ba840a4f88e562de61aa",
    "10349e963c5c813d327852f82c1795fa4148d69fedffc4c589bee458e3ac3d53",
    "363510303b715d4cbc384e1ce227e466b613a09e1b71ae985882bf8e7fbd9b18",
    "b77d3f006f42414bb242222e0482e750c0fb9e5ee8d4bed2f6f11c5605fe54a4",
    "ba23983c76b4832ee0e8af0592664756841a16779acd69f792e268fb6d13d6e7",
    "6a4361c2fc194feb4edaa9f9a4a0620fb9943e460ac7fdf037fb0f6dd6607a7d",
    "9dfb70f5867c29ff9ed6313683f19b3d867849e40fbc0c4c54a4a89df341cf23",
    "7936814b58b5387fce2e4e2488b4ec830dadd95fa9520f358ddb30990b50f2b6",
    "d78c37c2f04f23761ed2367dd77e2db584ddd4c3950833fecf89f199a8126980",
    "bc34a3ce58dea09dce1704c997171602de90cb34d0c8503a988b77f473d39b08",
    "55a94550ff18f3246c4074fd32b77b0c74447c26b6ad274d564d999c0450ba6e",
    "7538cbb80cb9103606c48b806eae57d56c885c7f90b9b3be70a41160f9cbb683",
    "a89c7268ccd4718ba424a99fc4643c572cf692ca6eae887185ceb4e9f11d2e54",
    "37afcc89fbdcb76d9518e04b2fc011027e2f4cd14b3b2f83cefd721641a47c5b",
    "1a9258c365988961d87a0598725b609139c303ad48a5aad6c503c3b1a87849aa",
    "b7450b264b1b0a411390d8931b112c27905a992520fc90569dc4b920aa32bbdc",
    "3b46c71e3b92a563820ba32936be8330c586c41f938efd94be938386aae4328a",
    "ac958597c82073f6bb65129c68f72b651db5b9efd82e11547d07350214bc268b",
    "1cee58eb1f2d9c7ebb254d208a03c783ce6cf2c4d8c2cf45e235dd23b4ce1b29",
    "e3111a2fd4da24af15d6459ef9eacfe54106b38e27b4a21821b75c3f5d2d5baf",
    "1071c68372cc5a01435c2c225a5cf7d4bb803846ec08bb6b3d6721b156d7cb96",
)

_GB82_SITE = "https://github.com/gianni-rosato/gb82-image-set"
_GB82_COMMIT = "502f9f94cb73d1ad5c89ce06fe6b100d0a27df8f"
_GB82_FILES = f"https://raw.githubusercontent.com/gianni-rosato/gb82-image-set/{_GB82_COMMIT}/png/"
_GB82_PIXELS = {
    "baby": "a69ece93cb97d34d98e2cd02111ae3583567b38683acdcd4e8bd1356b40922da",
    "bulb": "92f5bf8f83a93fc8659e47f2cf321a13559e53ad40459f17194d4d313aa91832",
    "city": "437580f67d55575dfb2344be554f8f007c05042b149a0c784a4effb1e0c694ff",
    "dog": "cc06cc19aea2f2be5c3d5c2fe13a329e0f601d1f237f8269cabf60a3a8809a08",
    "flowers": "62d1affe11a6ae6ea111c58325ddd338e2fa79ce7b87a1885a09e2b8e469d078",
    "girl": "bda4478cbb95ede4dfc04b5a10a7759524d13f303fb687a088b059c7325f8daf",
    "grass": "75dfc150cc23d3d558dd7f1e7698886ea3934c5e5971ed4d05bba45dd7eb0516",
    "guitar": "41ea1ffbfb6e57286cfff739deae5f33c29bc03e1a7fe9af98c3a7bbd692fb12",
    "haze": "d629e8b1fd67d31b14d9cc61e5e1c6f547ad4559429e80e537f7cb04d1283759",
    "house": "024a8821dfe316bff5e2fc51d47b1663803b53aa136dc4dc6bd96f20248cc0c7",
    "mc1": "5b9b31972d87b283cce013b7be0f6e1904d7fb41a4331027592efe5325cb567e",
    "mc2": "a736eeb96cce68bc89c255553c6e9748838d6ae19d9a6d5522c75557ab9df49e",
    "mc3": "bfc457ad198e3303705e6f85b5c5d96d5e575b69fb6134f9b1bdf76af21656eb",
    "mies": "e816f692b0b6a485e0fd88b76b5accf3372bfa5a7f89ca3fbcdca35833d7ce0e",
    "night": "7afa0cdb73baf4dfd0999fb777ee62aceade9b40dfb1424d9ee1dba15ae108d6",
    "nyc": "cdb7dcb24abfc661214369aa45e08745b881d83e1e12b565936e32f2b46db3fe",
    "path": "5c2b822a9091f29ac2501d77665e57734a93fb24dd6d5f302e40b6da62f3500e",
    "pixel": "b6342e77049248ab007be90a58702e88972c50107bca4cb395ccfcdc352cc15c",
    "prudential": "713eba150df5a0ae67b3ea10523a0a737eec8d53e52dd50e333521a2b4ead1a1",
    "rain": "ea24017c0f00822b17b90691115a56630fd7d7a221306bff3a60d4c4d0d1b479",
    "reflect": "cf2a76e3426245f68f69cf523f4c23bb67b88c8f95edd4fcadaca3e352ca68c6",
    "sand": "5f2d48ef12fbc50bf98b56737e381678f53ef68489b3b8ff49b591347d71f7a5",
    "sumac": "1d219fa05395eae5f4dd893288e086dbb0c74a2b1f62c3ed0f759a640479f96e",
    "sunset": "89486274acbad5fd14ed29ddb0834cb6839f2e5c268ee32c3209b7c7393a787a",
    "waves": "e249f3e2fa045fb01928cb943f66b44009deb08a29cfba1ff1003e407c00aedb",
}

DATASETS = (
    Dataset(
        name="kodak",
        title="Kodak Lossless True Color Image Suite: 24 photos of 768 × 512, 15 MB",
        source=_KODAK_SITE,
        terms="released by the Eastman Kodak Company for unrestricted usage, as the site states;"
        " there is no licence text by Kodak",
        checked="SHA-256 of every file, the same at the site and at the mirror",
        files=tuple(
            File(
                name=f"kodim{number:02}.png",
                addresses=(
                    f"{_KODAK_SITE}kodak/kodim{number:02}.png",
                    f"{_KODAK_MIRROR}{number:02}.png",
                ),
                sha256=sha256,
            )
            for number, sha256 in enumerate(_KODAK_SHA256, 1)
        ),
    ),
    Dataset(
        name="gb82",
        title="gb82 by Gianni Rosato: 25 pictures of 576 × 576, three of them rendered",
        source=_GB82_SITE,
        terms="CC0-1.0",
        checked="SHA-256 of the decoded pixels of every file (not of the file)",
        files=tuple(
            File(f"{name}.png", (f"{_GB82_FILES}{name}-lossless.png",), pixels=pixels)
            for name, pixels in _GB82_PIXELS.items()
        ),
    ),
)
